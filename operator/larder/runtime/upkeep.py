"""Keeps the objects of one pool as its spec says: applied when they change, when they vanish, and now and then.

What somebody else made under a name that the pool needs is never touched.
"""

import base64
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from larder.adapters.kube.client import MERGE_PATCH
from larder.adapters.kube.resources import SECRETS, Resource, resource_of
from larder.api import names
from larder.api.resources import Manifest, ModelPool
from larder.errors import KubernetesError, LarderError, NameTakenError
from larder.runtime.children import Keys, children, keys_secret
from larder.runtime.settings import Platform

log = logging.getLogger(__name__)


class Objects(Protocol):
    """Where objects are kept."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Manifest:
        """Return an object."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object."""

    async def patch(
        self, resource: Resource, target: tuple[str, str], body: Manifest, kind: str, part: str = ""
    ) -> Manifest:
        """Patch an object."""

    async def apply(self, manifest: Manifest, subresource: str | None = None) -> Manifest:
        """Server-side apply."""


@dataclass(slots=True)
class Upkeep:
    """One pool. `refused` says what the API server refused last, empty when all is applied; `taken` says which object
    of somebody else has a name that the pool needs.
    """

    objects: Objects
    platform: Platform
    make_key: Callable[[], str]
    check: Callable[[], None]
    refused: str = ""
    taken: str = ""
    keys: Keys | None = None
    _applied: dict[tuple[str, str], str] = field(default_factory=dict)

    def forget(self, kind: str | None = None, name: str = "") -> None:
        """Apply one object, or every object, again at the next turn: it may be another than was applied last."""
        if kind is None:
            self._applied.clear()
        else:
            self._applied.pop((kind, name), None)

    async def ensure(self, pool: ModelPool, pods: int) -> bool:
        """Apply what differs from what was applied last; False where something was refused or unanswered.

        While a name is taken only what is there and the pool's is applied: no half of a pool is made.
        """
        self.taken = ""
        try:
            self.keys = await self._keys(pool)
        except NameTakenError as error:
            self.taken, self.refused = str(error), ""
            return False
        except LarderError as error:
            self.refused = f"Secret {names.keys_name(pool.meta.name)}: {error}"
            return False
        due = [item for item in children(pool, self.platform, self.keys, pods) if self._is_due(item)]
        for manifest in await self._may_apply(pool, due):
            try:
                await self._apply(manifest)
            except KubernetesError as error:
                self.refused = self.refused or str(error)
                break
        return not self.refused and not self.taken

    def _is_due(self, manifest: Manifest) -> bool:
        return self._applied.get(_key(manifest)) != _content(manifest)

    async def _may_apply(self, pool: ModelPool, due: list[Manifest]) -> list[Manifest]:
        """Return those that are the pool's already and, where no name is taken, those that are not there."""
        self.refused = ""
        own: list[Manifest] = []
        absent: list[Manifest] = []
        for manifest in due:
            kind, name = _key(manifest)
            try:
                present = await self._present(resource_of(manifest), pool, name)
            except NameTakenError as error:
                self.taken = self.taken or str(error)
            except LarderError as error:
                self.refused = f"{kind} {name}: {error}"
                return []
            else:
                (absent if present is None else own).append(manifest)
        return own if self.taken else own + absent

    async def _present(self, resource: Resource, pool: ModelPool, name: str) -> Manifest | None:
        """Return the pool's object, None where there is none. Raises NameTakenError where it is somebody else's."""
        try:
            found = await self.objects.get(resource, pool.meta.namespace, name)
        except KubernetesError as error:
            if error.status != 404:
                raise
            return None
        owner = _controller(found)
        if owner.get("uid") == pool.meta.uid:
            return found
        what = f"{resource.kind} {name}"
        if (owner.get("kind"), owner.get("name")) == ("ModelPool", pool.meta.name):
            raise NameTakenError(f"{what} belongs to a former ModelPool {pool.meta.name} and goes with it soon")
        raise NameTakenError(
            f"{what} is there and is not this pool's; it is left alone and the pool waits: delete it, or give the "
            "pool another name"
        )

    async def _apply(self, manifest: Manifest) -> None:
        """Apply one object. Raises KubernetesError only where the namespace ends, and with it all that follows."""
        key = _key(manifest)
        try:
            self.check()
            await self.objects.apply(manifest)
        except LarderError as error:
            if isinstance(error, KubernetesError) and error.namespace_ends:
                raise
            log.warning("%s %s: %s", *key, error)
            self.refused = self.refused or f"{key[0]} {key[1]}: {error}"
            return
        self._applied[key] = _content(manifest)

    async def _keys(self, pool: ModelPool) -> Keys:
        """Return the pool's keys, made once: pods carry them."""
        target = (pool.meta.namespace, names.keys_name(pool.meta.name))
        fresh = Keys(self.make_key(), self.make_key())
        present = await self._present(SECRETS, pool, target[1])
        if present is None:
            self.check()
            await self.objects.create(keys_secret(pool, fresh))
            return fresh
        found = _data(present)
        keys = Keys(
            found.get(names.TRITON_ADMIN_KEY) or fresh.admin_key,
            found.get(names.DEMAND_TOKEN_KEY) or fresh.demand_token,
        )
        if fresh.admin_key == keys.admin_key or fresh.demand_token == keys.demand_token:
            self.check()
            body = {"stringData": keys_secret(pool, keys)["stringData"]}
            await self.objects.patch(SECRETS, target, body, MERGE_PATCH)
        return keys


def _key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _content(manifest: Manifest) -> str:
    return json.dumps(manifest, sort_keys=True)


def _controller(manifest: Manifest) -> Manifest:
    """The owner that controls an object; empty where none does."""
    owners: list[Manifest] = manifest["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), {})


def _data(secret: Manifest) -> dict[str, Any]:
    encoded = secret.get("data") or {}
    return {name: base64.b64decode(value).decode() for name, value in encoded.items()}
