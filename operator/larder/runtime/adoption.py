"""What a pod has loaded already: its annotation checked against Triton's whole index, without reloading anything.

A model whose state in the index is LOADING or UNLOADING is left alone until it settles.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from larder.adapters.triton import IndexEntry, IndexState
from larder.api.demand import Hint
from larder.api.residency import Residency, decode
from larder.core.snapshot import Placement, PlacementState
from larder.errors import InvalidInputError, LarderError
from larder.runtime.arriving import settle
from larder.runtime.books import Books, PodBook, learned
from larder.runtime.gather import size_bytes
from larder.runtime.leaving import await_gone, drain
from larder.runtime.members import learn_all_members
from larder.runtime.state import CALL_SECONDS, PoolState

log = logging.getLogger(__name__)

LONGEST_START_SECONDS: Final = 600.0
RETRY_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
INDEX_SECONDS: Final = 30.0
"""The whole index lists the repository's folder, which may be slow."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a declared model: its present revision and size."""

    revision: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a pod has: placements by model, and bytes of what nobody declares."""

    placements: dict[str, Placement] = field(default_factory=dict)
    unmanaged: dict[str, int] = field(default_factory=dict)


def adopt(
    pod: str,
    record: Residency | None,
    index: Mapping[str, IndexEntry],
    expected: Mapping[str, Expected],
    default: tuple[int, float],
) -> Found:
    """Compare the annotation of the container that runs (None: it has none) with its index.

    `default` is the size of a model of which nothing is known, and the present time.
    """
    found, (default_bytes, now) = Found(), default
    written = record.models if record is not None else {}
    for name, entry in index.items():
        if entry.state is IndexState.UNAVAILABLE:
            continue
        resident, known = written.get(name), expected.get(name)
        if resident is None and known is None:
            found.unmanaged[name] = default_bytes
            continue
        size = resident.memory_bytes if resident else known.memory_bytes if known else default_bytes
        revision = resident.revision if resident else known.revision if known else ""
        routable = resident is None or resident.routable
        since = resident.since_seconds if resident else now
        found.placements[name] = Placement(name, pod, _state(entry, routable), size, since, revision)
    return found


def _state(entry: IndexEntry, routable: bool) -> PlacementState:
    match entry.state:
        case IndexState.LOADING:
            return PlacementState.LOADING
        case IndexState.UNLOADING:
            return PlacementState.UNLOADING
        case _:
            return PlacementState.READY if routable else PlacementState.DRAINING


def begin_adoption(state: PoolState, book: PodBook) -> None:
    """Read what the pod has loaded and take it over."""
    book.adopting = True
    state.tasks.spawn(_adopt(state, book), f"adopt {book.view.name}")


async def _adopt(state: PoolState, book: PodBook) -> None:
    try:
        container = book.view.container_id
        index = await _index(state, book, container)
        if index is None:
            return
        record = _record(book, container)
        found = adopt(book.view.name, record, index, _expected(state, index), _default(state))
        members = await _members(state, book, found) if _may_hide_members(found, record) else set()
        if book.view.container_id != container:
            return
        _take_over(state, book, found, record)
        _without_members(state.books, book, members, record)
    finally:
        book.adopting = False
        state.wake()


async def _index(state: PoolState, book: PodBook, container: str) -> Mapping[str, IndexEntry] | None:
    """Return the index once the server answers; None when the container is gone."""
    turn = 0
    while book.view.container_id == container and not book.view.deleting:
        try:
            async with state.controls.indexes:
                return await state.controls.of(book.view).index(INDEX_SECONDS)
        except LarderError as error:
            log.debug("%s does not answer yet: %s", book.view.name, error)
        await asyncio.sleep(RETRY_SECONDS[min(turn, len(RETRY_SECONDS) - 1)])
        turn += 1
    return None


def _record(book: PodBook, container: str) -> Residency | None:
    try:
        record = decode(book.view.residency) if book.view.residency else None
    except InvalidInputError as error:
        log.warning("%s: %s", book.view.name, error)
        return None
    if record is None:
        return None
    book.generation = max(book.generation, record.generation)
    return record if record.container_id == container else None


def _expected(state: PoolState, index: Mapping[str, IndexEntry]) -> dict[str, Expected]:
    default_bytes, serving = state.pool.memory.default_model_bytes, state.declared.serving
    present = [n for n, entry in index.items() if n in serving and entry.state is not IndexState.UNAVAILABLE]
    return {name: Expected(serving[name].revision, _size(state, name, default_bytes)) for name in present}


def _size(state: PoolState, name: str, default_bytes: int) -> int:
    known = size_bytes(state.declared.serving[name], state.books, state.declared.serving, default_bytes)
    return default_bytes if known is None else known


def _default(state: PoolState) -> tuple[int, float]:
    return (state.pool.memory.default_model_bytes, state.clock.unix())


def _may_hide_members(found: Found, record: Residency | None) -> bool:
    """Whether something is there that was not placed for itself: then what each model calls has to be known first."""
    return record is None or bool(found.unmanaged) or not found.placements.keys() <= record.models.keys()


async def _members(state: PoolState, book: PodBook, found: Found) -> set[str]:
    """Learn which of the adopted models are ensembles; return all their members."""
    members: set[str] = set()
    for name, placement in found.placements.items():
        known = state.books.model(name)
        if placement.state in (PlacementState.READY, PlacementState.DRAINING) and known.members is None:
            try:
                known.members = await state.controls.of(book.view).members(name, CALL_SECONDS)
                known.members_revision = placement.revision
            except LarderError as error:
                log.info("%s: the members of %s are not known yet: %s", book.view.name, name, error)
        members.update(known.members or ())
    return members


def _take_over(state: PoolState, book: PodBook, found: Found, record: Residency | None) -> None:
    container = book.view.container_id
    book.adopted, book.leaking, book.adopted_seconds = container, "", state.clock.unix()
    age = max(0.0, book.adopted_seconds - book.view.created_seconds)
    is_new = not book.view.residency and book.view.created_seconds >= state.books.began_seconds
    if is_new and age < LONGEST_START_SECONDS:
        # It began before this leader's eyes. An old one waited for a node, an image or an operator.
        state.books.start_seconds = learned(state.books.start_seconds, age, book.adopted_seconds)
    book.placements.clear()
    book.placements.update(found.placements)
    book.unmanaged = dict(found.unmanaged)
    log.info("%s is adopted with %d models, %d unmanaged", book.view.name, len(found.placements), len(found.unmanaged))
    for name, placement in found.placements.items():
        match placement.state:
            case PlacementState.LOADING:
                state.tasks.spawn(settle(state, book, name, "Triton dropped it"), f"settle {name} on {placement.pod}")
            case PlacementState.UNLOADING:
                state.tasks.spawn(_gone(state, book, name), f"settle {name} on {placement.pod}")
            case PlacementState.DRAINING:
                state.tasks.spawn(drain(state, book, name), f"drain {name} on {placement.pod}")
            case PlacementState.READY:
                _succeeded(state, placement)
    state.tasks.spawn(_learn_late(state, book), f"learn members on {book.view.name}")
    newest = state.publisher.generations.get(book.view.uid, 0)
    if record is None or newest > record.generation or dict(record.models) != dict(book.residency(0).models):
        state.publisher.publish(book)
    else:
        state.gateways.tell(Hint(book.view.uid, book.residency(state.fence.term)))


def _succeeded(state: PoolState, placement: Placement) -> None:
    """A copy that is ready has refuted the failure that the former leader told of, but for one of a newer revision."""
    known, declared = state.books.model(placement.model), state.model(placement.model)
    known.last_bytes = placement.memory_bytes
    if known.failure is not None and declared is not None and placement.revision == declared.revision:
        known.failure = None


async def _learn_late(state: PoolState, book: PodBook) -> None:
    """Ask what the models call that were adopted without Triton telling it; of a few pods at a time."""
    async with state.controls.learning:
        learned = await learn_all_members(state, book)
    for member in {member for name in learned for member in state.books.model(name).members or ()}:
        book.unmanaged.pop(member, None)
    if learned:
        state.wake()


async def _gone(state: PoolState, book: PodBook, model: str) -> None:
    container = book.adopted
    await await_gone(state, book, model)
    if book.adopted == container:
        book.placements.pop(model, None)
        book.leaking = ""
    state.wake()


def _without_members(books: Books, book: PodBook, members: set[str], record: Residency | None) -> None:
    """Members count with their ensemble: those that were never placed for themselves have no placement."""
    for name in members:
        book.unmanaged.pop(name, None)
        if record is not None and name not in record.models and books.ensembles_with(book, name):
            book.placements.pop(name, None)
