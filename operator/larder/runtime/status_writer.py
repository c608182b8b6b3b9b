"""Status, written at most about once a second an object, only when it changed, never in the way of anything else."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from larder.adapters.kube.resources import MODELS, POOLS, Resource
from larder.api.conditions import Condition, from_status, merge
from larder.api.resources import Manifest, Model, ModelPool, ObjectMeta
from larder.api.status import ModelPoolStatus, ModelStatus, model_status, pool_status, steadied
from larder.errors import KubernetesError, UnavailableError
from larder.runtime.leadership import NotLeadingError

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0


class Target(Protocol):
    """Where status is written."""

    async def apply(self, manifest: Manifest, subresource: str | None = None) -> Manifest:
        """Server-side apply."""


@dataclass(slots=True)
class _Sheet:
    resource: Resource
    meta: ObjectMeta
    wanted: Manifest
    written: Manifest
    next_seconds: float = 0.0
    queued: bool = False
    patient: bool = False
    """Whether it lets others go first."""


@dataclass(slots=True)
class StatusWriter:
    """`want_model` and `want_pool` never wait; `run` writes. A writer belongs to one term of leadership."""

    target: Target
    check: Callable[[], None]
    monotonic: Callable[[], float]
    spacing_seconds: float = 1.0
    _sheets: dict[str, _Sheet] = field(default_factory=dict)
    _queue: asyncio.PriorityQueue[tuple[bool, int, str]] = field(default_factory=asyncio.PriorityQueue)
    _count: int = 0

    def want_model(self, model: Model, status: ModelStatus, now_seconds: float) -> None:
        """Bring a Model's status to this."""
        dated = self._dated(model.meta, model.status, status.conditions, now_seconds)
        self.want(MODELS, model.meta, model.status, model_status(replace(status, conditions=dated)))

    def want_pool(self, pool: ModelPool, status: ModelPoolStatus, now_seconds: float) -> None:
        """Bring a pool's status to this."""
        dated = self._dated(pool.meta, pool.status, status.conditions, now_seconds)
        self.want(POOLS, pool.meta, pool.status, pool_status(replace(status, conditions=dated)))

    def _dated(
        self, meta: ObjectMeta, present: Manifest, new: tuple[Condition, ...], now_seconds: float
    ) -> tuple[Condition, ...]:
        """The conditions with the times at which they last changed."""
        sheet = self._sheets.get(meta.uid)
        return merge(from_status(sheet.wanted if sheet is not None else present), new, now_seconds)

    def want(self, resource: Resource, meta: ObjectMeta, present: Manifest, status: dict[str, Any]) -> None:
        """Bring an object's status to this; `present` is what it had when it was last seen."""
        sheet = self._sheets.get(meta.uid)
        if sheet is None:
            sheet = self._sheets[meta.uid] = _Sheet(resource, meta, present, present)
        wanted = steadied(status, sheet.written)
        # Of thousands of objects that stay as they are, one copy is kept.
        sheet.wanted = sheet.written if wanted == sheet.written else wanted
        if sheet.wanted is not sheet.written and (not sheet.queued or (sheet.patient and not _is_patient(sheet))):
            sheet.queued = True
            self._put(sheet)

    def _put(self, sheet: _Sheet) -> None:
        self._count += 1
        sheet.patient = _is_patient(sheet)
        self._queue.put_nowait((sheet.patient, self._count, sheet.meta.uid))

    def stands(self, uid: str) -> bool:
        """Whether an object's status is as it was wanted last, or will be."""
        sheet = self._sheets.get(uid)
        return sheet is not None and (sheet.queued or sheet.wanted is sheet.written)

    def forget(self, uid: str) -> None:
        """Whoever asks cares no more. What is still to be written is: another may want it, or the object is gone."""
        sheet = self._sheets.get(uid)
        if sheet is not None and not sheet.queued:
            del self._sheets[uid]

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                sheet = self._sheets.get((await self._queue.get())[-1])
                if sheet is None:
                    continue
                wait = sheet.next_seconds - self.monotonic()
                if wait > 0:
                    group.create_task(self._later(sheet, wait))
                else:
                    await self._write(sheet)

    async def _later(self, sheet: _Sheet, wait: float) -> None:
        await asyncio.sleep(wait)
        self._put(sheet)

    async def _write(self, sheet: _Sheet) -> None:
        sheet.queued = False
        if sheet.wanted == sheet.written:
            # Thousands may be in line that are as they are to be: nobody else's turn is to wait for them.
            await asyncio.sleep(0)
            return
        status, sheet.next_seconds = sheet.wanted, self.monotonic() + self.spacing_seconds
        try:
            self.check()
            await self.target.apply(_manifest(sheet, status), "status")
            sheet.written = status
        except KubernetesError as error:
            self._refused(sheet, error)
        except NotLeadingError:
            # The term ends, and this writer with it; whoever leads next writes its own.
            log.info("status of %s is left to the next leader", sheet.meta.name)
        except UnavailableError as error:
            log.info("status of %s is late: %s", sheet.meta.name, error)
            sheet.next_seconds, sheet.queued = self.monotonic() + RETRY_SECONDS, True
            self._put(sheet)

    def _refused(self, sheet: _Sheet, error: KubernetesError) -> None:
        if error.status in (404, 409):
            self._sheets.pop(sheet.meta.uid, None)
            return
        log.warning("status of %s %s was refused: %s", sheet.resource.kind, sheet.meta.name, error)


def _is_patient(sheet: _Sheet) -> bool:
    """Whether all that is to be said, for the first time, is that a Model is there: of a new pool, thousands are."""
    return sheet.resource is MODELS and not sheet.written and not sheet.wanted.get("placements")


def _manifest(sheet: _Sheet, status: Manifest) -> Manifest:
    meta = sheet.meta
    return {
        "apiVersion": sheet.resource.api_version,
        "kind": sheet.resource.kind,
        # The uid keeps the status of an object from its namesake that came after it.
        "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "status": status,
    }
