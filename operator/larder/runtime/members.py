"""What an ensemble calls: Triton tells it of a resident model only, so it is known after the first load."""

import asyncio
import logging
from typing import Final

from larder.core.snapshot import PlacementState
from larder.core.units import format_bytes
from larder.errors import LarderError, TritonError
from larder.runtime.books import PodBook
from larder.runtime.gather import capacity_bytes, size_bytes
from larder.runtime.state import CALL_SECONDS, PoolState

log = logging.getLogger(__name__)

REFUSALS: Final = 5
"""A Triton that answers, and so often does not tell, never will."""


async def learn_members(state: PoolState, book: PodBook, model: str) -> bool:
    """Ask until Triton tells what a resident model calls; False where the copy is not there any more.

    Not told is not none: an ensemble would pass for a plain model. Raises TritonError where Triton keeps refusing.
    """
    container, refusals = book.adopted, 0
    while book.adopted == container and (placement := book.placements.get(model)) is not None:
        try:
            members = await state.control(book).members(model, CALL_SECONDS)
        except LarderError as error:
            log.warning("%s: what %s calls is not known, asking again: %s", book.view.name, model, error)
            refusals += isinstance(error, TritonError)
            if refusals >= REFUSALS:
                raise
            await asyncio.sleep(state.timings.members_pause)
            continue
        if book.adopted != container or model not in book.placements:
            return False
        known = state.books.model(model)
        known.members, known.members_revision = members, placement.revision
        return True
    return False


async def learn_all_members(state: PoolState, book: PodBook) -> list[str]:
    """Learn it of every ready model on a pod of which it is not known; return those that it was learned of."""
    learned = []
    for name in [n for n, p in book.placements.items() if p.state is PlacementState.READY]:
        if state.books.model(name).members is None:
            try:
                learned += [name] if await learn_members(state, book, name) else []
            except TritonError as error:
                log.warning("%s: what %s calls stays unknown: %s", book.view.name, name, error)
    return learned


def undeclared_members(state: PoolState, model: str) -> tuple[str, ...]:
    """Members of an ensemble that no Model of the pool declares."""
    return tuple(name for name in state.books.model(model).members or () if name not in state.declared.serving)


def too_large(state: PoolState, model: str) -> str:
    """Why an ensemble with its members fits no pod; empty where it does."""
    members, declared = state.books.model(model).members, state.model(model)
    if not members or declared is None:
        return ""
    size = size_bytes(declared, state.books, state.declared.serving, state.pool.memory.default_model_bytes)
    capacity = capacity_bytes(state.pool)
    if size is None or size <= capacity:
        return ""
    need, most = format_bytes(size), format_bytes(capacity)
    return f"{model} with its members {', '.join(members)} needs {need}; a pod has {most} for models"
