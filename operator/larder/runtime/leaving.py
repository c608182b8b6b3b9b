"""A model leaves a pod: routing stops, gateways acknowledge, Triton unloads, and only then its bytes are free."""

import asyncio
from contextlib import suppress

from larder.core.plan import Drain
from larder.core.snapshot import PlacementState
from larder.errors import LarderError
from larder.runtime.books import PodBook
from larder.runtime.following import follow_leaving, is_counted
from larder.runtime.members import learn_all_members
from larder.runtime.state import CALL_SECONDS, PoolState


def begin_drain(state: PoolState, book: PodBook, action: Drain) -> None:
    """Stop routing to a ready model from now on; the unload follows by itself."""
    book.move(action.model, PlacementState.DRAINING, state.clock.unix())
    state.tasks.spawn(drain(state, book, action.model), f"drain {action.model} on {action.pod}")


async def drain(state: PoolState, book: PodBook, model: str) -> None:
    """Stop routing to a placement that is Draining, then unload it."""
    counted, goes = await asyncio.gather(is_counted(state, book, model), stop_routing(state, book, model))
    if goes:
        await unload(state, book, model, counted)


async def stop_routing(state: PoolState, book: PodBook, model: str) -> bool:
    """Publish that routing stops and wait until gateways have seen it, or two seconds have passed.

    The placement is Unloading then. False: the container is another one, and nothing is left to do.
    """
    container = book.adopted
    version, written = state.publisher.publish(book)
    bound = state.timings.drain_acknowledged
    _, behind = await asyncio.gather(
        asyncio.wait((written,), timeout=bound), state.gateways.seen(book.view.uid, version, bound)
    )
    now = state.clock.unix()
    for name in behind:
        state.books.unacknowledged[name] = now
    if behind:
        state.report.unacknowledged(book.view.name, behind)
    if book.adopted != container or model not in book.placements:
        return False
    book.move(model, PlacementState.UNLOADING, now)
    return True


async def unload(state: PoolState, book: PodBook, model: str, counted: bool = False) -> None:
    """Unload a placement that is Unloading, with the members that it pulled in, and wait until all are gone.

    `counted`: Triton's metrics were seen to have counters of it.
    """
    container = book.adopted
    # One that an ensemble calls can't leave before it.
    await learn_all_members(state, book)
    members = [name for name in state.books.model(model).members or () if name not in book.placements]
    kept = bool(state.books.ensembles_with(book, model))
    if not kept:
        await _end(state, book, model, counted)
    for member in members:
        if book.adopted == container and state.books.ensembles_with(book, member) == [model]:
            await _end(state, book, member)
    if book.adopted == container and book.placements.pop(model, None) is not None:
        state.publisher.publish(book)
        state.report.unloaded(state.model(model), model, book.view.name)
    if not any(p.state is PlacementState.UNLOADING for p in book.placements.values()):
        book.leaking = ""
    state.wake()


async def await_gone(state: PoolState, book: PodBook, model: str) -> None:
    """Wait until the model is gone; past the timeout the pod is Leaking until then.

    Triton shows it, but for a model whose own process died: of that one the unload never ends, its memory is back,
    and a load brings it back.
    """
    await _await_gone(state, book, model, await is_counted(state, book, model))


async def _await_gone(state: PoolState, book: PodBook, model: str, counted: bool) -> None:
    deadline = state.clock.monotonic() + state.pool.loading.unload_timeout_seconds
    async for is_gone in follow_leaving(state, book, model, counted):
        if is_gone or _has_ended(state, book, model):
            return
        if state.clock.monotonic() > deadline:
            _note_leak(state, book, model)
            await asyncio.sleep(state.timings.leaking_pause)


def _has_ended(state: PoolState, book: PodBook, model: str) -> bool:
    ended = book.ended.get(model)
    return ended is not None and state.clock.monotonic() - ended >= state.timings.dead_unload


async def _end(state: PoolState, book: PodBook, model: str, counted: bool = False) -> None:
    state.fence.check()
    # Not answered is not refused: Triton shows what became of it.
    with suppress(LarderError):
        await state.control(book).unload(model, CALL_SECONDS)
    await _await_gone(state, book, model, counted or await is_counted(state, book, model))


def _note_leak(state: PoolState, book: PodBook, model: str) -> None:
    if book.leaking:
        return
    bound = state.pool.loading.unload_timeout_seconds
    book.leaking = f"Pod {book.view.name}: {model} is still unloading after {bound:g} s; nothing is loaded there"
    state.report.warn("Unload", "Leaking", book.leaking)
    state.wake()
