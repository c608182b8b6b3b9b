"""Following a model in Triton's index until it shows what one waits for."""

import asyncio
from collections.abc import AsyncIterator

from larder.adapters.triton import IndexEntry, IndexState
from larder.errors import LarderError
from larder.runtime.books import PodBook
from larder.runtime.state import CALL_SECONDS, PoolState


async def follow_index(state: PoolState, book: PodBook, model: str) -> AsyncIterator[IndexEntry]:
    """Yield the model's entry again and again with growing pauses, as long as the pod's container is the same.

    Triton announces no end of an unload or of a load started by another: asking is the only way.
    """
    container, pauses = book.adopted, state.timings.index_pauses
    turn = 0
    while book.view.uid and book.adopted == container and book.is_adopted:
        try:
            index = await state.control(book).index(CALL_SECONDS)
            yield index.get(model, IndexEntry(IndexState.UNAVAILABLE))
        except LarderError:
            turn = max(turn, len(pauses) - 1)
        await asyncio.sleep(pauses[min(turn, len(pauses) - 1)])
        turn += 1
