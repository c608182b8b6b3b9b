"""What is read now and then besides the rounds: Triton's counters, and why pods can't start."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from larder.adapters.kube.resources import EVENTS, Resource
from larder.adapters.triton import Execution
from larder.api.resources import Manifest
from larder.core.snapshot import PlacementState
from larder.errors import LarderError
from larder.runtime.books import PodBook, learned
from larder.runtime.healing import Judged, begin_restart
from larder.runtime.pods import PodView
from larder.runtime.state import CALL_SECONDS, PoolState

log = logging.getLogger(__name__)

ALL_PODS_TURNS: Final = 6
DEAD_SECONDS: Final = 0.95
RESTART_PAUSE_SECONDS: Final = 30.0
CREATING_SECONDS: Final = 2.0
"""A pod that creates its containers for longer is asked about."""


class Lists(Protocol):
    """Where Events of pods are read."""

    async def list(
        self, resource: Resource, namespace: str | None, selectors: Mapping[str, str]
    ) -> tuple[list[Manifest], str]:
        """Return all objects."""


@dataclass(slots=True)
class Readings:
    """Triton's own counters of what is resident: execution times, copies that only fail, drift.

    Pods in use are read every few seconds, all of them now and then. Counters list what is ready without touching
    the repository, which the index would.
    """

    state: PoolState
    _before: dict[tuple[str, str], Execution] = field(default_factory=dict)
    _restarts: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)

    async def run(self) -> None:
        """Read until cancelled."""
        turn = 0
        while True:
            await asyncio.sleep(self.state.timings.statistics)
            turn += 1
            for book in list(self.state.books.pods.values()):
                if book.is_adopted and (turn % ALL_PODS_TURNS == 0 or self._in_use(book)):
                    await self._read(book)

    def _in_use(self, book: PodBook) -> bool:
        since = self.state.clock.unix() - 2 * self.state.timings.statistics
        models = self.state.books.models
        return any(name in models and (models[name].last_used_seconds or 0.0) > since for name in book.placements)

    async def _read(self, book: PodBook) -> None:
        container, settled = book.adopted, {name for name in book.placements if _is_ready(book, name)}
        try:
            counted = await self.state.control(book).statistics(CALL_SECONDS)
        except LarderError as error:
            log.info("%s tells no statistics: %s", book.view.name, error)
            return
        if book.adopted != container:
            return
        note_drift(self.state, book, settled - book.changing, frozenset(counted))
        for model, total in counted.items():
            if model in settled and _is_ready(book, model):
                self._learn(book, model, total)

    def _learn(self, book: PodBook, model: str, total: Execution) -> None:
        key = (book.adopted, model)
        since = _added(self._before.get(key), total)
        self._before[key] = total
        known = self.state.books.model(model)
        if since.computed > 0:
            seconds = since.compute_seconds / since.computed
            known.execution_seconds = learned(known.execution_seconds, seconds, self.state.clock.unix())
        if since.succeeded > 0:
            queued = since.queue_seconds / since.succeeded
            known.queue_seconds = learned(known.queue_seconds, queued, self.state.clock.unix())
        usual_seconds = known.execution_seconds.mean if known.execution_seconds is not None else 0.0
        if looks_dead(since, usual_seconds) and self._may_restart(key):
            each = since.failed_seconds / since.failed
            text = f"all of its last {since.failed} requests failed, after {each:.1f} s each, as when its process died"
            begin_restart(self.state, book, model, Judged(f"{model} on {book.view.name}: {text}", total.succeeded))

    def died(self, model: str, pod_uid: str) -> None:
        """Reload a copy of which Triton says itself that its process has ended."""
        book = next((book for book in self.state.books.pods.values() if book.view.uid == pod_uid), None)
        if book is not None and _is_ready(book, model) and self._may_restart((book.adopted, model)):
            text = f"{model} on {book.view.name}: Triton says that its process has ended"
            begin_restart(self.state, book, model, Judged(text))

    def _may_restart(self, key: tuple[str, str]) -> bool:
        """Not again before a pause that doubles: a restart that did not help need not help next time."""
        now = self.state.clock.monotonic()
        times, not_before = self._restarts.get(key, (0, 0.0))
        if now < not_before:
            return False
        self._restarts[key] = (times + 1, now + RESTART_PAUSE_SECONDS * 2.0 ** min(times, 6))
        return True


def looks_dead(since: Execution, usual_seconds: float) -> bool:
    """Whether requests only failed, and each as slowly as Triton's check of a process that is gone.

    A model that raises answers at once; the check takes a second.
    """
    if since.failed == 0 or since.succeeded > 0:
        return False
    return since.failed_seconds / since.failed > DEAD_SECONDS + usual_seconds


def _added(before: Execution | None, total: Execution) -> Execution:
    """What was added since the last reading. Counters begin anew with every load."""
    if before is None or total.computed < before.computed or total.failed < before.failed:
        return total
    return Execution(
        total.succeeded - before.succeeded,
        total.failed - before.failed,
        total.computed - before.computed,
        total.compute_seconds - before.compute_seconds,
        total.failed_seconds - before.failed_seconds,
        total.queue_seconds - before.queue_seconds,
    )


def note_drift(state: PoolState, book: PodBook, settled: set[str], ready: frozenset[str]) -> None:
    """Compare what is ready in Triton with the books: what is gone serves nothing, what is strange is counted."""
    lost = [name for name in settled - ready if _is_ready(book, name)]
    for name in lost:
        del book.placements[name]
        state.report.warn("Adopt", "Drift", f"{name} is no longer loaded on {book.view.name}")
    pulled = {member for name in book.placements for member in state.books.model(name).members or ()}
    strange = ready - set(book.placements) - pulled
    if lost:
        state.publisher.publish(book)
    if lost or strange != set(book.unmanaged):
        book.unmanaged = dict.fromkeys(strange, state.pool.memory.default_model_bytes)
        state.wake()


def _is_ready(book: PodBook, model: str) -> bool:
    placement = book.placements.get(model)
    return placement is not None and placement.state is PlacementState.READY


@dataclass(slots=True)
class Mounts:
    """Why pods can't mount their volumes: the kubelet says so in Events only."""

    state: PoolState
    lists: Lists
    unmounted: dict[str, str] = field(default_factory=dict)

    async def look(self, views: Mapping[str, PodView]) -> None:
        """Ask about the pods that are creating their containers for a while; forget the others."""
        now = self.state.clock.unix()
        for name in [n for n in self.unmounted if n not in views or not views[n].creating]:
            del self.unmounted[name]
        for view in views.values():
            if view.creating and not view.deleting and now - view.created_seconds > CREATING_SECONDS:
                await self._ask(view)

    async def _ask(self, view: PodView) -> None:
        selectors = {"fieldSelector": f"involvedObject.uid={view.uid},type=Warning"}
        try:
            found, _ = await self.lists.list(EVENTS, view.namespace, selectors)
        except LarderError as error:
            log.info("Events of %s can't be read: %s", view.name, error)
            return
        mounts = [event for event in found if str(event.get("reason", "")).startswith("Failed")]
        if mounts:
            newest = max(mounts, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
            self.unmounted[view.name] = f"Pod {view.name}: {newest.get('reason')}: {newest.get('message')}"
