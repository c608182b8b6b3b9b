"""Copies that are ready in the books and are asked for all the same: gateways hold requests for them.

A moment after a load that is how it must be. Later it says that gateways do not find the copy, and Triton's index
tells whether it is there. A pod that does not answer at all, as on a lost node, keeps nobody waiting: until it does,
its copies count as no copies, and their memory as taken.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from larder.adapters.triton import IndexState
from larder.core.snapshot import PlacementState, Waiting
from larder.errors import LarderError, TritonError, UnavailableError
from larder.runtime.books import PodBook
from larder.runtime.leaving import await_gone
from larder.runtime.state import CALL_SECONDS, PoolState

log = logging.getLogger(__name__)

AFTER_SECONDS: Final = 0.5
"""What gateways may take to find a copy that became ready."""
AGAIN_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 2.0
"""In which a pod answers a question that costs it nothing."""


@dataclass(slots=True)
class Doubts:
    """Looks at each doubtful pod at most once in a while."""

    state: PoolState
    _looked: dict[str, float] = field(default_factory=dict)

    def look(self, waiting: Mapping[str, Waiting]) -> float | None:
        """Ask the pods whose copies are waited for; return when to come again, in Unix seconds, if at all."""
        now, again = self.state.clock.unix(), None
        for book in self.state.books.pods.values():
            doubtful = [name for name in waiting if _is_ready(book, name) and name not in book.changing]
            if not doubtful or not book.is_adopted or not book.is_reached:
                continue
            again = now + AFTER_SECONDS
            settled = [name for name in doubtful if now - book.placements[name].since_seconds >= AFTER_SECONDS]
            if settled and now - self._looked.get(book.view.uid, 0.0) >= AGAIN_SECONDS:
                self._looked[book.view.uid] = now
                self.state.tasks.spawn(_compare(self.state, book, settled), f"look at {book.view.name}")
        return again


async def _compare(state: PoolState, book: PodBook, models: list[str]) -> None:
    container = book.adopted
    if not await _answers(state, book, models[0]):
        await _await_answer(state, book, models[0])
        return
    try:
        index = await state.control(book).index(CALL_SECONDS)
    except LarderError as error:
        log.info("%s tells no index: %s", book.view.name, error)
        return
    if book.adopted != container:
        return
    for name in models:
        found = index[name].state if name in index else IndexState.UNAVAILABLE
        if found is not IndexState.READY and _is_ready(book, name):
            _lost(state, book, name, found)


async def _answers(state: PoolState, book: PodBook, model: str) -> bool:
    try:
        await state.control(book).members(model, ANSWER_SECONDS)
    except UnavailableError as error:
        log.info("%s does not answer: %s", book.view.name, error)
        return False
    except TritonError:
        return True
    return True


async def _await_answer(state: PoolState, book: PodBook, model: str) -> None:
    """Count the pod's copies as none until it answers, or the container is another one."""
    container = book.adopted
    book.silent = True
    text = f"Pod {book.view.name} does not answer; until it does, its models are loaded elsewhere when asked for"
    state.report.warn("Doubt", "PodSilent", text)
    state.wake()
    try:
        while book.adopted == container and not book.view.deleting:
            await asyncio.sleep(state.timings.leaking_pause)
            if await _answers(state, book, model):
                return
    finally:
        if book.adopted == container:
            book.silent = False
        state.wake()


def _lost(state: PoolState, book: PodBook, model: str, found: IndexState) -> None:
    """The copy is not there: its routing ends, and the next round sees to a new one."""
    state.report.warn("Adopt", "Drift", f"{model} is no longer loaded on {book.view.name}")
    if found is IndexState.UNAVAILABLE:
        del book.placements[model]
    else:
        book.move(model, PlacementState.UNLOADING, state.clock.unix())
        state.tasks.spawn(_gone(state, book, model), f"settle {model} on {book.view.name}")
    state.publisher.publish(book)
    state.wake()


async def _gone(state: PoolState, book: PodBook, model: str) -> None:
    container = book.adopted
    await await_gone(state, book, model)
    if book.adopted == container:
        book.placements.pop(model, None)
    state.wake()


def _is_ready(book: PodBook, model: str) -> bool:
    placement = book.placements.get(model)
    return placement is not None and placement.state is PlacementState.READY
