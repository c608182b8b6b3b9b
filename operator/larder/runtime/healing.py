"""A copy whose own process died is loaded again in its place.

Triton's python backend leaves such a model READY and fails every request. Its unload never ends in the index, and a
load brings it back whether or not it ended: so the wait for the end is short here, and the process that would hold
the memory is gone.
"""

import asyncio
from contextlib import suppress

from larder.core.plan import Drain, Reason
from larder.core.snapshot import PlacementState
from larder.errors import LarderError
from larder.runtime.arriving import load
from larder.runtime.books import PodBook
from larder.runtime.leaving import await_gone, stop_routing
from larder.runtime.state import CALL_SECONDS, PoolState


def begin_restart(state: PoolState, book: PodBook, model: str, why: str) -> None:
    """Stop routing to a ready copy, unload it and load it again."""
    pod = book.view.name
    state.report.decided(Drain(model, pod, Reason.RECYCLE, why), state.model(model))
    book.move(model, PlacementState.DRAINING, state.clock.unix())
    state.tasks.spawn(_restart(state, book, model), f"restart {model} on {pod}")


async def _restart(state: PoolState, book: PodBook, model: str) -> None:
    if not await stop_routing(state, book, model):
        return
    container = book.adopted
    state.fence.check()
    # Not answered is not refused: the load that follows tells.
    with suppress(LarderError):
        await state.control(book).unload(model, CALL_SECONDS)
    with suppress(TimeoutError):
        async with asyncio.timeout(state.timings.dead_unload):
            await await_gone(state, book, model)
    if book.adopted == container and model in book.placements:
        book.move(model, PlacementState.LOADING, state.clock.unix())
        state.wake()
        await load(state, book, model)
