"""What no pool's loop speaks for: Models of unknown pools, and objects whose spec can't be read."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from larder.adapters.kube.events import Note, Regarding
from larder.adapters.kube.informer import Key
from larder.adapters.kube.resources import MODELS, POOLS
from larder.api import names
from larder.api.conditions import ConditionReason, ModelCondition, from_status, merge
from larder.api.resources import Manifest, Model, ModelPool, ObjectMeta
from larder.api.status import model_status, pool_status
from larder.errors import KubernetesError, LarderError
from larder.runtime.catalog import Catalog
from larder.runtime.model_status import orphaned_status, unreadable_status
from larder.runtime.pool_runner import Surface
from larder.runtime.pool_status import invalid_status

log = logging.getLogger(__name__)

SPACING_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class BadPool:
    """A pool whose spec can't be read, and why."""

    meta: ObjectMeta
    status: Manifest
    message: str

    @classmethod
    def of(cls, manifest: Manifest, message: str) -> "BadPool":
        """Keep of the object what its status needs."""
        meta = manifest["metadata"]
        kept = _meta(meta["namespace"], meta["name"], meta["uid"], meta.get("generation", 0))
        return cls(kept, manifest.get("status") or {}, message)


@dataclass(slots=True)
class Oddities:
    """Says in status and Event what is wrong. A pool counts as missing once the API server says so."""

    surface: Surface
    pools: Mapping[Key, ModelPool]
    bad_pools: Mapping[Key, BadPool]
    catalog: Catalog
    _due: asyncio.Event = field(default_factory=asyncio.Event)
    _missing: set[Key] = field(default_factory=set)
    _told: set[tuple[str, int]] = field(default_factory=set)

    def look_soon(self) -> None:
        """Something changed that is nobody else's."""
        self._due.set()

    async def run(self) -> None:
        """Look now and after every change until cancelled."""
        while True:
            self._due.clear()
            await self._look()
            await asyncio.sleep(SPACING_SECONDS)
            await self._due.wait()

    async def _look(self) -> None:
        self._missing -= set(self.pools)
        orphans = [shelf for key, shelf in self.catalog.shelves.items() if key not in self.pools]
        self._told &= {_spec(model) for shelf in orphans for model in shelf.models.values()}
        for key, shelf in list(self.catalog.shelves.items()):
            if key in self.pools or not shelf.models:
                continue
            if await self._is_missing(key):
                for model in list(shelf.models.values()):
                    self._orphaned(model)
        self._unreadable()

    async def _is_missing(self, key: Key) -> bool:
        """Whether there is no such pool; one that nobody told of yet is asked for again."""
        if key in self._missing:
            return True
        try:
            await self.surface.cluster.get(POOLS, *key)
        except KubernetesError as error:
            if error.status == 404:
                self._missing.add(key)
                return True
        except LarderError as error:
            log.info("whether ModelPool %s/%s is there is not known: %s", *key, error)
        if key not in self.bad_pools:
            self._due.set()
        return False

    def _orphaned(self, model: Model) -> None:
        now = self.surface.clock.unix()
        self.surface.statuses.want_model(model, orphaned_status(model), now)
        if _spec(model) in self._told:
            return
        self._told.add(_spec(model))
        if _is_told(model):
            return
        about = Regarding(names.API_VERSION, "Model", model.meta.namespace, model.meta.name, model.meta.uid)
        text = f"there is no ModelPool {model.pool} in namespace {model.meta.namespace}"
        self.surface.notes.record(Note(about, "Warning", "Accept", str(ConditionReason.POOL_NOT_FOUND), text))

    def _unreadable(self) -> None:
        statuses, now = self.surface.statuses, self.surface.clock.unix()
        for bad in self.bad_pools.values():
            status = invalid_status(bad.meta.generation, bad.message)
            dated = merge(from_status(bad.status), status.conditions, now)
            statuses.want(POOLS, bad.meta, bad.status, pool_status(replace(status, conditions=dated)))
        for odd in self.catalog.odd.values():
            said = unreadable_status(odd.generation, odd.message)
            dated = merge(from_status(odd.status), said.conditions, now)
            meta = _meta(odd.namespace, odd.name, odd.uid, odd.generation)
            statuses.want(MODELS, meta, odd.status, model_status(replace(said, conditions=dated)))


def _spec(model: Model) -> tuple[str, int]:
    return model.meta.uid, model.meta.generation


def _is_told(model: Model) -> bool:
    """Whether a leader before this one said of this spec that its pool is missing."""
    told = (c for c in from_status(model.status) if c.type == ModelCondition.POOL_FOUND)
    return any(c.status is False and c.observed_generation == model.meta.generation for c in told)


def _meta(namespace: str, name: str, uid: str, generation: int) -> ObjectMeta:
    return ObjectMeta(namespace, name, uid, generation, 0.0, "")
