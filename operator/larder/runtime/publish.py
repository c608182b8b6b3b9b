"""Publication of residency: a hint to gateways at once, then the annotation on the pod.

One writer a pod, always with its newest record: records that were overtaken are never written. The annotation is
bound to one container, and its write to one version of the pod and to the leader's term.

A model that arrived is written a moment later than its hint is sent: the write, and what all who watch pods make of it,
would take the processor from the first inference, for which somebody waits. What ends routing is written at once.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from larder.api import names
from larder.api.demand import Hint, Message
from larder.api.residency import MAX_BYTES, Residency, encode
from larder.core.snapshot import PlacementState
from larder.errors import InvalidInputError, KubernetesError, UnavailableError
from larder.runtime.books import Books, PodBook
from larder.runtime.leadership import Fence
from larder.runtime.pod_writes import Pods, annotate
from larder.runtime.tasks import Tasks

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = (0.05, 0.2, 0.5, 1.0, 2.0)
ENTRY_BYTES: Final = 1024
"""Room kept in the annotation for each model that is not in it yet: its name, revision and numbers."""


@dataclass(slots=True)
class _Desk:
    """What is to be written of one pod, and who waits for it."""

    record: Residency
    waiters: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    busy: bool = False
    written: int = -1
    hurried: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Publisher:
    """Publishes for one pool. `tell` reaches every connected gateway.

    `generations` by pod uid outlive the pool's loop: within one term a record is never overtaken by an older one.
    """

    pods: Pods
    fence: Fence
    books: Books
    tasks: Tasks
    tell: Callable[[Message], None]
    monotonic: Callable[[], float]
    observed: Callable[[float], None]
    generations: dict[str, int]
    pause_seconds: float
    _desks: dict[str, _Desk] = field(default_factory=dict)

    def publish(self, book: PodBook, *, at_leisure: bool = False) -> tuple[tuple[int, int], asyncio.Future[None]]:
        """Publish what the pod serves now; return its version, and what ends when the annotation is written.

        `at_leisure`: only the hint goes out at once.
        """
        book.generation = max(book.generation, self.generations.get(book.view.uid, 0)) + 1
        self.generations[book.view.uid] = book.generation
        record = book.residency(self.fence.term)
        self.tell(Hint(book.view.uid, record))
        desk = self._desks.setdefault(book.view.uid, _Desk(record))
        desk.record = record
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        desk.waiters.append((record.generation, written))
        if not at_leisure:
            desk.hurried.set()
        if not desk.busy:
            desk.busy = True
            self.tasks.spawn(self._write(book, desk), f"publish {book.view.name}")
        return record.version, written

    def hurry(self) -> None:
        """Write what waits for its moment now."""
        for desk in self._desks.values():
            desk.hurried.set()

    def forget(self, pod_uid: str) -> None:
        """The pod is gone."""
        self.generations.pop(pod_uid, None)
        desk = self._desks.pop(pod_uid, None)
        if desk is not None:
            _release(desk, None)

    async def _write(self, book: PodBook, desk: _Desk) -> None:
        attempt = 0
        try:
            while desk.written < desk.record.generation and book.view.uid in self._desks:
                await self._pause(desk)
                if await self._write_once(book, desk):
                    attempt = 0
                    continue
                await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
                attempt += 1
                desk.hurried.set()
        finally:
            desk.busy = False
            _release(desk, None)

    async def _pause(self, desk: _Desk) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.pause_seconds):
                await desk.hurried.wait()

    async def _write_once(self, book: PodBook, desk: _Desk) -> bool:
        record, name, began = desk.record, book.view.name, self.monotonic()
        desk.hurried.clear()
        try:
            await annotate(self.pods, self.fence, book.view, {names.RESIDENCY_ANNOTATION: encode(record)})
        except KubernetesError as error:
            if error.status == 404:
                desk.written = record.generation
                return True
            self.books.unpublished[name] = f"Pod {name}: {error}"
            return False
        except UnavailableError as error:
            self.books.unpublished[name] = f"Pod {name}: {error}"
            return False
        except InvalidInputError as error:
            self.books.unpublished[name] = f"Pod {name}: {error}"
            desk.written = record.generation
            return True
        self.books.unpublished.pop(name, None)
        self.observed(self.monotonic() - began)
        desk.written = record.generation
        _release(desk, record.generation)
        return True


def is_full(book: PodBook, term: int) -> bool:
    """Whether the annotation has no room for one more model."""
    coming = 1 + sum(p.state is PlacementState.LOADING for p in book.placements.values())
    try:
        return len(encode(book.residency(term))) + ENTRY_BYTES * coming > MAX_BYTES
    except InvalidInputError:
        return True


def _release(desk: _Desk, generation: int | None) -> None:
    """Wake who waits for this generation or an older one; None: everybody."""
    kept = []
    for wanted, future in desk.waiters:
        if generation is not None and wanted > generation:
            kept.append((wanted, future))
        elif not future.done():
            future.set_result(None)
    desk.waiters[:] = kept
