"""What is read now and then besides the rounds: execution times, drift of the index, and why pods can't start."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from larder.adapters.kube.resources import EVENTS, Resource
from larder.adapters.triton import Execution, IndexState
from larder.api.resources import Manifest
from larder.core.snapshot import PlacementState
from larder.errors import LarderError
from larder.runtime.books import PodBook, learned
from larder.runtime.pods import PodView
from larder.runtime.state import CALL_SECONDS, PoolState

log = logging.getLogger(__name__)

CREATING_SECONDS: Final = 2.0
"""A pod that creates its containers for longer is asked about."""


class Lists(Protocol):
    """Where Events of pods are read."""

    async def list(
        self, resource: Resource, namespace: str | None, selectors: Mapping[str, str]
    ) -> tuple[list[Manifest], str]:
        """Return all objects."""


@dataclass(slots=True)
class Executions:
    """Execution times from Triton's own counters: what was added since the last look."""

    state: PoolState
    _before: dict[tuple[str, str], Execution] = field(default_factory=dict)

    async def run(self) -> None:
        """Look at every pod, time and again, until cancelled."""
        while True:
            await asyncio.sleep(self.state.timings.statistics)
            for book in list(self.state.books.pods.values()):
                if book.is_adopted and any(p.state is PlacementState.READY for p in book.placements.values()):
                    await self._look(book)

    async def _look(self, book: PodBook) -> None:
        try:
            counted = await self.state.control(book).statistics(CALL_SECONDS)
        except LarderError as error:
            log.info("%s tells no statistics: %s", book.view.name, error)
            return
        for model, total in counted.items():
            key = (book.adopted, model)
            seconds = _mean_seconds(self._before.get(key), total)
            self._before[key] = total
            if seconds is not None and model in book.placements:
                known = self.state.books.model(model)
                known.execution_seconds = learned(known.execution_seconds, seconds, self.state.clock.unix())


def _mean_seconds(before: Execution | None, total: Execution) -> float | None:
    """Mean compute time since the last look; None where nothing ran. Counters begin anew with every load."""
    if before is None or total.computed < before.computed:
        before = Execution(0, 0, 0, 0.0)
    ran = total.computed - before.computed
    return (total.compute_seconds - before.compute_seconds) / ran if ran > 0 else None


async def watch_drift(state: PoolState) -> None:
    """Compare the whole index of every pod with the books, seldom: what is not there serves nothing."""
    while True:
        await asyncio.sleep(state.timings.reapply)
        for book in list(state.books.pods.values()):
            if book.is_adopted:
                await _compare(state, book)


async def _compare(state: PoolState, book: PodBook) -> None:
    container = book.adopted
    ready = {name for name, p in book.placements.items() if p.state is PlacementState.READY}
    try:
        index = await state.control(book).index(CALL_SECONDS)
    except LarderError as error:
        log.info("%s tells no index: %s", book.view.name, error)
        return
    if book.adopted != container:
        return
    present = {name for name, entry in index.items() if entry.state is not IndexState.UNAVAILABLE}
    lost = [name for name in ready - present - book.changing if _is_ready(book, name)]
    for name in lost:
        del book.placements[name]
        state.report.warn("Adopt", "Drift", f"{name} is no longer loaded on {book.view.name}")
    pulled = {member for name in book.placements for member in state.books.model(name).members or ()}
    strange = present - ready - set(book.placements) - pulled
    book.unmanaged = dict.fromkeys(strange, state.pool.memory.default_model_bytes)
    if lost:
        state.publisher.publish(book)
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
