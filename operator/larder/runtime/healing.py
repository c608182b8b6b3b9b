"""A copy whose own process died is loaded again in its place.

Triton's python backend leaves such a model READY and fails every request. Its unload never ends in the index, and a
load brings it back whether or not it ended: so the wait for the end is short here, and the process that would hold
the memory is gone. A copy that answered since it was judged dead is alive: its load while it unloads would double its
memory, so it serves on.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from larder.core.plan import Drain, Reason
from larder.core.snapshot import PlacementState
from larder.errors import LarderError
from larder.runtime.arriving import load
from larder.runtime.books import PodBook
from larder.runtime.gather import capacity_bytes, withheld_bytes
from larder.runtime.leaving import await_gone, stop_routing
from larder.runtime.state import CALL_SECONDS, PoolState


@dataclass(frozen=True, slots=True)
class Judged:
    """Why a copy counts as dead, and how many requests it had answered well until then; None: it is dead for sure."""

    why: str
    succeeded: int | None = None


def begin_restart(state: PoolState, book: PodBook, model: str, judged: Judged) -> None:
    """Stop routing to a ready copy, unload it and load it again."""
    pod = book.view.name
    state.report.decided(Drain(model, pod, Reason.RECYCLE, judged.why), state.model(model))
    book.move(model, PlacementState.DRAINING, state.clock.unix())
    state.tasks.spawn(_restart(state, book, model, judged), f"restart {model} on {pod}")


async def _restart(state: PoolState, book: PodBook, model: str, judged: Judged) -> None:
    if not await stop_routing(state, book, model):
        return
    container = book.adopted
    succeeded = await _succeeded(state, book, model)
    if book.adopted != container or model not in book.placements:
        return
    if succeeded is not None and judged.succeeded is not None and succeeded != judged.succeeded:
        book.move(model, PlacementState.READY, state.clock.unix())
        state.publisher.publish(book)
        state.wake()
        return
    state.fence.check()
    # Not answered is not refused: the load that follows tells.
    with suppress(LarderError):
        await state.control(book).unload(model, CALL_SECONDS)
    with suppress(TimeoutError):
        for_sure = judged.succeeded is None or succeeded is not None
        async with asyncio.timeout(state.timings.dead_unload if for_sure else None):
            await await_gone(state, book, model)
    if book.adopted != container or model not in book.placements:
        return
    if not _fits(state, book):
        # It was seen to take more than is free here. Its process is gone: the planner weighs it against the others.
        del book.placements[model]
        state.publisher.publish(book)
        state.report.unloaded(state.model(model), model, book.view.name)
        state.wake()
    else:
        book.move(model, PlacementState.LOADING, state.clock.unix())
        state.wake()
        await load(state, book, model)


def _fits(state: PoolState, book: PodBook) -> bool:
    """Whether what counts on a pod now, the copy that is to come back included, is within what models may take."""
    standing = state.sizes.standings(book)
    counted = sum(one.counted_bytes for one in standing.values()) + withheld_bytes(book, standing)
    return counted + book.reloading_bytes + sum(book.unmanaged.values()) <= capacity_bytes(state.pool)


async def _succeeded(state: PoolState, book: PodBook, model: str) -> int | None:
    """The requests that the copy answered well so far; None where Triton does not tell."""
    try:
        counted = (await state.control(book).statistics(CALL_SECONDS)).get(model)
    except LarderError:
        return None
    return None if counted is None else counted.succeeded
