"""A model arrives on a pod: load, reload in place, and what becomes of a load whose end nobody was told.

Each function is the body of a task that owns one (model, pod) pair. When the pod's container is another one in the
meantime, what was under way is gone with it and nothing is written.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from larder.adapters.triton import IndexState
from larder.core.plan import Drain, Load
from larder.core.snapshot import Placement, PlacementState
from larder.errors import TritonError, UnavailableError
from larder.runtime.books import Coming, PodBook, learned
from larder.runtime.failures import Failed, load_failed, load_lost, note_failure
from larder.runtime.following import follow_index
from larder.runtime.gather import size_bytes
from larder.runtime.leadership import NotLeadingError
from larder.runtime.leaving import drain, unload
from larder.runtime.members import learn_members, too_large, undeclared_members
from larder.runtime.state import PoolState

log = logging.getLogger(__name__)

UNCHANGED_SECONDS: Final = 0.08
"""A load of a loaded model that answers sooner has reloaded nothing; starting a model takes longer."""

_NO_REASON: Final = ("", "unloaded")
"""What the index says of a model whose load it never knew, or forgot when Triton restarted."""


def begin_load(state: PoolState, book: PodBook, action: Load) -> None:
    """Count the load from now on and start it."""
    now = state.clock.unix()
    placement = Placement(action.model, action.pod, PlacementState.LOADING, action.memory_bytes, now, action.revision)
    book.placements[action.model] = placement
    state.tasks.spawn(load(state, book, action.model), f"load {action.model} on {action.pod}")


async def load(state: PoolState, book: PodBook, model: str) -> None:
    """Load a model whose placement is Loading."""
    container, began = book.adopted, state.clock.monotonic()
    book.ended.pop(model, None)
    try:
        state.fence.check()
        await state.control(book).load(model, state.pool.loading.load_timeout_seconds)
    except NotLeadingError:
        book.placements.pop(model, None)
        raise
    except TritonError as error:
        if _is_loading(book, container, model):
            state.books.model(model).lost_loads = 0
            load_failed(state, book, model, error.reason)
        return
    except UnavailableError as error:
        state.books.model(model).waits_because = f"{error}; waiting for what Triton makes of the load"
        await settle(state, book, model, str(error))
        return
    if _is_loading(book, container, model):
        await arrived(state, book, model, state.clock.monotonic() - began)


async def settle(state: PoolState, book: PodBook, model: str, why: str) -> None:
    """Follow a load whose end nobody tells until Triton's index shows it."""
    container = book.adopted
    async for entry in follow_index(state, book, model):
        if not _is_loading(book, container, model):
            return
        if entry.state is IndexState.READY:
            await arrived(state, book, model, None)
            return
        if entry.state is IndexState.UNAVAILABLE:
            if entry.reason in _NO_REASON:
                load_lost(state, book, model, why)
            else:
                load_failed(state, book, model, entry.reason)
            return


async def arrived(state: PoolState, book: PodBook, model: str, seconds: float | None) -> None:
    """The model is ready in Triton: publish, then tell."""
    began = state.clock.monotonic()
    if not await _is_acceptable(state, book, model):
        return
    known, placement, now = state.books.model(model), book.placements[model], state.clock.unix()
    if seconds is not None:
        known.load_seconds = learned(known.load_seconds, seconds, now)
    known.failure, known.waits_because, known.last_bytes, known.lost_loads = None, "", placement.memory_bytes, 0
    declared = state.model(model)
    if declared is not None and known.members:
        total = size_bytes(declared, state.books, state.declared.serving, state.pool.memory.default_model_bytes)
        book.placements[model] = replace(placement, memory_bytes=total or placement.memory_bytes)
    if book.is_metered and known.footprint is None:
        book.measuring = model
    book.move(model, PlacementState.READY, now)
    _, written = state.publisher.publish(book, at_leisure=True)
    state.report.told(state.clock.monotonic() - began)
    state.wake()
    await written
    state.report.loaded(declared, model, book.view.name, seconds)


async def _is_acceptable(state: PoolState, book: PodBook, model: str) -> bool:
    """Learn what the model calls. One that may not stay with that is unloaded, with what it pulled in."""
    container, known = book.adopted, state.books.model(model)
    if known.members is None or known.members_revision != book.placements[model].revision:
        try:
            await learn_members(state, book, model)
        except TritonError as error:
            if _is_loading(book, container, model):
                await _refuse(state, book, model, Failed(f"Triton does not tell its configuration: {error.reason}"))
            return False
        if not _is_loading(book, container, model):
            return False
    if missing := undeclared_members(state, model):
        await _refuse(state, book, model, _undeclared(model, missing))
        return False
    if text := too_large(state, model):
        # No failure that is tried again: the planner knows its size from now on.
        state.report.failed(state.model(model), model, f"on {book.view.name}: {text}")
        await _send_away(state, book, model)
        return False
    return True


def _undeclared(model: str, missing: tuple[str, ...]) -> Failed:
    text = f"members of the ensemble {model} are not declared as Models: {', '.join(missing)}"
    return Failed(text, missing_members=missing)


async def _refuse(state: PoolState, book: PodBook, model: str, failed: Failed) -> None:
    note_failure(state, book, model, failed)
    await _send_away(state, book, model)


async def _send_away(state: PoolState, book: PodBook, model: str) -> None:
    book.move(model, PlacementState.UNLOADING, state.clock.unix())
    state.wake()
    await unload(state, book, model)


def begin_reload(state: PoolState, book: PodBook, action: Drain, coming: Coming) -> None:
    """Replace a model in place by another revision: both count until one of them is gone."""
    book.reloading[action.model] = coming
    book.changing.add(action.model)
    state.tasks.spawn(reload(state, book, action.model), f"reload {action.model} on {action.pod}")


async def reload(state: PoolState, book: PodBook, model: str) -> None:
    """Load a model again while the old one serves; Triton keeps the old one when the new one fails.

    Triton does nothing where no file changed: then the copy leaves and is loaded anew, for a revision is any string.
    """
    container, began = book.adopted, state.clock.monotonic()
    unchanged = False
    try:
        await _load_over(state, book, model)
    except TritonError as error:
        if book.adopted == container:
            note_failure(state, book, model, Failed(f"{error.reason}; the former revision serves on", reload=True))
    else:
        seconds = state.clock.monotonic() - began
        unchanged = seconds < UNCHANGED_SECONDS
        if not unchanged and book.adopted == container and model in book.placements:
            await _reloaded(state, book, model, seconds)
    finally:
        book.reloading.pop(model, None)
        book.changing.discard(model)
        state.wake()
    if unchanged and book.adopted == container and model in book.placements:
        book.move(model, PlacementState.DRAINING, state.clock.unix())
        await drain(state, book, model)


async def _load_over(state: PoolState, book: PodBook, model: str) -> None:
    """Load a loaded model until Triton answers, or the container is another one.

    Its index shows READY all along. Asked again while the new copy still comes, Triton waits for that one, and what
    came meanwhile it does not load twice: so asking again is how to learn the end, and both copies count until then.
    """
    container = book.adopted
    while book.adopted == container:
        state.fence.check()
        try:
            await state.control(book).load(model, state.pool.loading.load_timeout_seconds)
            return
        except UnavailableError as error:
            log.warning("%s on %s: %s; asking again", model, book.view.name, error)
        await asyncio.sleep(state.timings.leaking_pause)


async def _reloaded(state: PoolState, book: PodBook, model: str, seconds: float) -> None:
    known = state.books.model(model)
    if (coming := book.reloading.pop(model, None)) is None:
        return
    book.placements[model] = replace(
        book.placements[model],
        revision=coming.revision,
        memory_bytes=coming.memory_bytes,
        state=PlacementState.READY,
        since_seconds=state.clock.unix(),
    )
    known.failure, container = None, book.adopted
    known.load_seconds = learned(known.load_seconds, seconds, state.clock.unix())
    try:
        await learn_members(state, book, model)
    except TritonError as error:
        log.warning("%s: what %s calls since its reload is not known: %s", book.view.name, model, error)
    if book.adopted != container or model not in book.placements:
        return
    if missing := undeclared_members(state, model):
        note_failure(state, book, model, _undeclared(model, missing))
        book.move(model, PlacementState.DRAINING, state.clock.unix())
        await drain(state, book, model)
        return
    _, written = state.publisher.publish(book)
    await written
    state.report.loaded(state.model(model), model, book.view.name, seconds)


def _is_loading(book: PodBook, container: str, model: str) -> bool:
    placement = book.placements.get(model)
    return book.adopted == container and placement is not None and placement.state is PlacementState.LOADING
