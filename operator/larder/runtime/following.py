"""Following a model in Triton until it shows what one waits for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

from larder.adapters.triton import IndexEntry, IndexState
from larder.errors import LarderError
from larder.runtime.books import PodBook
from larder.runtime.state import CALL_SECONDS, PoolState

_T = TypeVar("_T")

METRICS_SECONDS: Final = 0.5
"""Metrics that take longer tell nothing."""
READS: Final = 3
"""Metrics that so many times in a row told nothing are asked no more: a busy server may be late now and then."""


async def follow_index(state: PoolState, book: PodBook, model: str) -> AsyncIterator[IndexEntry]:
    """Yield the model's entry again and again with growing pauses, as long as the pod's container is the same.

    Triton announces no end of an unload or of a load started by another: asking is the only way.
    """

    async def look() -> IndexEntry:
        index = await state.control(book).index(CALL_SECONDS)
        return index.get(model, IndexEntry(IndexState.UNAVAILABLE))

    async for entry in _again(state, book, look):
        yield entry


async def follow_leaving(state: PoolState, book: PodBook, model: str, counted: bool) -> AsyncIterator[bool]:
    """Yield again and again whether a model that leaves is gone.

    By the metrics where they were seen to have counters of it (`counted`): each look at the index lists the whole
    repository. By the index where not, or as soon as the metrics tell nothing any more.
    """

    async def look() -> bool:
        nonlocal counted
        found = await _read_counted(state, book) if counted else None
        if found is not None:
            return model not in found
        counted = False
        index = await state.control(book).index(CALL_SECONDS)
        return index.get(model, IndexEntry(IndexState.UNAVAILABLE)).state is IndexState.UNAVAILABLE

    async for is_gone in _again(state, book, look):
        yield is_gone


async def is_counted(state: PoolState, book: PodBook, model: str) -> bool:
    """Whether the metrics have counters of the model."""
    found = await _read_counted(state, book)
    return found is not None and model in found


async def _read_counted(state: PoolState, book: PodBook) -> frozenset[str] | None:
    """The models that the metrics have counters of; None where they tell nothing."""
    for pause in state.timings.index_pauses[: READS - 1]:
        found = await state.control(book).counted(METRICS_SECONDS)
        if found is not None:
            return found
        await asyncio.sleep(pause)
    return await state.control(book).counted(METRICS_SECONDS)


async def _again(state: PoolState, book: PodBook, look: Callable[[], Awaitable[_T]]) -> AsyncIterator[_T]:
    container, pauses = book.adopted, state.timings.index_pauses
    turn = 0
    while book.view.uid and book.adopted == container and book.is_adopted:
        try:
            yield await look()
        except LarderError:
            turn = max(turn, len(pauses) - 1)
        await asyncio.sleep(pauses[min(turn, len(pauses) - 1)])
        turn += 1
