"""The operator: follows the API server on every replica; on the leading one, a loop for every pool."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from larder.adapters.kube.events import Recorder
from larder.adapters.kube.informer import Informer, Key, Scope
from larder.adapters.kube.resources import POOLS
from larder.api.parsing import parse_model_pool
from larder.api.resources import Manifest, ModelPool
from larder.errors import InvalidInputError
from larder.runtime import telemetry
from larder.runtime.catalog import Catalog, PoolWorld
from larder.runtime.leadership import Leadership
from larder.runtime.oddities import BadPool, Oddities
from larder.runtime.pool_runner import PoolRunner, Surface
from larder.runtime.status_writer import StatusWriter

log = logging.getLogger(__name__)

RESTART_SECONDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(slots=True)
class _Running:
    uid: str
    task: asyncio.Task[None] | None = None
    runner: PoolRunner | None = None


class Operator:
    """`run` follows and leads until cancelled; `stop` then gives the Lease away.

    Pools are told by `put_pool` and `remove_pool`. The surface's status writer is replaced for every term.
    """

    def __init__(self, surface: Surface, leadership: Leadership, recorder: Recorder) -> None:
        self.pools: dict[Key, ModelPool] = {}
        self.bad_pools: dict[Key, BadPool] = {}
        self.synced = False
        self._leadership, self._surface, self._recorder = leadership, surface, recorder
        self._catalog = Catalog(self._changed)
        leadership.newest_written = self._catalog.newest_term
        self._running: dict[Key, _Running] = {}
        self._term: int | None = None
        self._of_term: list[asyncio.Task[None]] = []
        self._oddities: Oddities | None = None

    def put_pool(self, manifest: Manifest) -> None:
        """A pool is there, or changed. One that can't be read is said so; what was read before stays in force."""
        meta = manifest["metadata"]
        key = (meta["namespace"], meta["name"])
        if meta.get("deletionTimestamp"):
            self.remove_pool(key)
            return
        before = self.pools.get(key)
        try:
            pool = self.pools[key] = parse_model_pool(manifest)
            self.bad_pools.pop(key, None)
            if before is not None and (before.meta.uid, before.meta.generation) == (
                pool.meta.uid,
                pool.meta.generation,
            ):
                # Nothing but its status changed, by our own hand.
                return
        except InvalidInputError as error:
            log.warning("ModelPool %s/%s: %s", *key, error)
            self.bad_pools[key] = BadPool.of(manifest, str(error))
        running = self._running.get(key)
        if running is not None and running.runner is not None:
            running.runner.objects_changed()
        self._moved()

    def remove_pool(self, key: Key) -> None:
        """A pool is gone, or goes."""
        self.pools.pop(key, None)
        self.bad_pools.pop(key, None)
        self._moved()

    async def run(self, namespaces: tuple[str, ...], jitter: Callable[[], float]) -> None:
        """Follow, and lead when it is this replica's turn, until cancelled."""
        spaces = namespaces or (None,)
        informers = self._catalog.informers(self._surface.cluster, spaces, jitter)
        try:
            async with asyncio.TaskGroup() as group:
                for informer in informers:
                    group.create_task(informer.run())
                for space in spaces:
                    group.create_task(self._known_pools(space, jitter).run())
                group.create_task(self._recorder.run())
                for informer in informers:
                    await informer.synced.wait()
                self.synced = True
                log.info("all lists are complete")
                group.create_task(self._leadership.run())
                await self._supervise()
        finally:
            await self._end_term()

    def _known_pools(self, space: str | None, jitter: Callable[[], float]) -> Informer[str]:
        """Follow which pools there are: kopf, which tells of them, misses a deletion while its watch is broken."""
        uids: dict[Key, str] = {}

        def changed(key: Key, uid: str | None) -> None:
            before = uids.pop(key, None)
            if uid is not None:
                uids[key] = uid
            present = self.pools.get(key) or self.bad_pools.get(key)
            if uid is None and present is not None and present.meta.uid == before:
                self.remove_pool(key)

        return Informer(self._surface.cluster, Scope(POOLS, space), _uid, changed, jitter)

    async def stop(self) -> None:
        """After `run` was cancelled: let another replica lead at once."""
        await self._leadership.release()

    async def _supervise(self) -> None:
        """Keep a loop for every pool while this replica leads, and none while it does not."""
        while True:
            self._leadership.changed.clear()
            telemetry.LEADING.set(self._leadership.leading)
            term = self._leadership.term if self._leadership.leading else None
            if term != self._term:
                await self._end_term()
                if term is not None:
                    self._begin_term(term)
            if self._term is not None:
                await self._match()
            await self._leadership.changed.wait()

    def _begin_term(self, term: int) -> None:
        leadership, clock = self._leadership, self._surface.clock
        statuses = StatusWriter(self._surface.cluster, leadership.check, clock.monotonic, self._surface.timings.status)
        self._surface = replace(self._surface, statuses=statuses)
        self._oddities = Oddities(self._surface, self.pools, self.bad_pools, self._catalog)
        self._of_term = [asyncio.create_task(self._guarded(statuses.run()), name="status")]
        self._of_term.append(asyncio.create_task(self._guarded(self._oddities.run()), name="oddities"))
        self._term = term

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """An error that nobody foresaw ends this replica, and another one leads."""
        try:
            await work
        except Exception:
            log.exception("the operator ends")
            os.kill(os.getpid(), signal.SIGTERM)
            raise

    async def _end_term(self) -> None:
        self._term = None
        tasks = [*(running.task for running in self._running.values()), *self._of_term]
        self._running, self._of_term, self._oddities = {}, [], None
        await _cancelled(tasks)

    async def _match(self) -> None:
        """Start and end loops so that there is one for every pool."""
        gone = [
            key
            for key, running in self._running.items()
            if key not in self.pools or self.pools[key].meta.uid != running.uid
        ]
        await _cancelled([self._running.pop(key).task for key in gone])
        for key, pool in self.pools.items():
            if key not in self._running:
                running = self._running[key] = _Running(pool.meta.uid)
                world = PoolWorld(self._catalog, self.pools, key, pool)
                running.task = asyncio.create_task(self._keep(world, running), name=f"pool {key[0]}/{key[1]}")

    async def _keep(self, world: PoolWorld, running: _Running) -> None:
        """Run the pool's loop; after an error that nobody foresaw begin anew, by adopting what is there."""
        failures = 0
        while True:
            running.runner = PoolRunner(world, self._surface)
            log.info("pool %s/%s: the loop begins", *world.key)
            try:
                await running.runner.run()
            except Exception:
                log.exception("pool %s/%s: the loop broke and begins anew", *world.key)
            running.runner = None
            await asyncio.sleep(RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)])
            failures += 1

    def _changed(self, key: Key) -> None:
        running = self._running.get(key)
        if running is not None and running.runner is not None:
            running.runner.noticed()
        elif self._oddities is not None:
            self._oddities.look_soon()

    def _moved(self) -> None:
        self._leadership.changed.set()
        if self._oddities is not None:
            self._oddities.look_soon()


def _uid(manifest: Manifest) -> str:
    return str(manifest["metadata"]["uid"])


async def _cancelled(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    present = [task for task in tasks if task is not None]
    for task in present:
        task.cancel()
    await asyncio.gather(*present, return_exceptions=True)
