"""Loads that failed: what is remembered, who is told, and when the next try is due."""

import re
from dataclasses import dataclass
from typing import Final

from larder.api.demand import Failure
from larder.core.snapshot import PlacementState
from larder.runtime.books import LoadFailure, ModelBook, PodBook
from larder.runtime.gather import capacity_bytes
from larder.runtime.state import PoolState

_MEMORY_ERROR: Final = re.compile(
    r"out of memory|outofmemory|\boom\b|cannot allocate|can't allocate|failed to allocate|bad_alloc|memoryerror"
    r"|resource exhausted|insufficient memory",
    re.IGNORECASE,
)
LOST_LOADS: Final = 3
"""So many loads in a row that are lost with their Triton are the model's failure."""
NO_SPEC: Final = ("", 0)


@dataclass(frozen=True, slots=True)
class Failed:
    """What went wrong: a sentence, whether an older copy serves on, and which members nobody declares."""

    message: str
    reload: bool = False
    missing_members: tuple[str, ...] = ()


def load_failed(state: PoolState, book: PodBook, model: str, reason: str) -> None:
    """The load ended without the model: free its bytes, learn, tell who waits."""
    placement = book.placements.pop(model)
    if _MEMORY_ERROR.search(reason):
        free = capacity_bytes(state.pool) - sum(p.memory_bytes for p in book.placements.values())
        known = state.books.model(model)
        known.least_bytes = max(known.least_bytes or 0, placement.memory_bytes, min(free, capacity_bytes(state.pool)))
    note_failure(state, book, model, Failed(reason or "Triton gave no reason"))


def load_lost(state: PoolState, book: PodBook, model: str, why: str) -> None:
    """The load was lost with Triton or the connection to it: no failure of the model, which is planned again at once.

    Unless that goes on: a model may be what Triton dies of.
    """
    known = state.books.model(model)
    known.lost_loads += 1
    if known.lost_loads >= LOST_LOADS:
        load_failed(state, book, model, f"{known.lost_loads} loads in a row were lost with their Triton: {why}")
        return
    del book.placements[model]
    known.waits_because = f"its load on {book.view.name} was lost and is done again: {why}"
    state.report.lost(state.model(model), model, f"on {book.view.name}: {why}")
    state.wake()


def container_lost(state: PoolState, book: PodBook) -> None:
    """The container that ran ended, and what it was loading is lost."""
    loading = [name for name, p in book.placements.items() if p.state is PlacementState.LOADING]
    for model in loading:
        load_lost(state, book, model, f"the container ended while it loaded {model}")


def note_failure(state: PoolState, book: PodBook, model: str, failed: Failed) -> None:
    """Remember a failed load, pause before the next, and answer who waits if no copy serves."""
    known, declared = state.books.model(model), state.model(model)
    spec = (declared.meta.uid, declared.meta.generation) if declared is not None else NO_SPEC
    before = known.failure
    attempts = before.attempts + 1 if before is not None and before.spec == spec else 1
    failure = LoadFailure(failed.message, state.clock.unix(), attempts, spec, failed.reload, failed.missing_members)
    known.failure, known.waits_because = failure, ""
    if told := failure_message(state, model):
        state.gateways.tell(told)
    state.report.failed(declared, model, f"on {book.view.name}: {failed.message}")
    state.wake()


def failure_message(state: PoolState, model: str) -> Failure | None:
    """What gateways answer requests of this model with now; None where a copy serves or nothing failed."""
    failure = state.books.model(model).failure
    if failure is None or any(p.model == model and p.state is PlacementState.READY for p in state.books.placements()):
        return None
    pause = failure.retry_at_seconds - state.clock.unix()
    return Failure(model, failure.message, pause) if pause > 0 else None


def heal_failures(state: PoolState) -> None:
    """Forget failures of Models that changed since, or whose missing members are declared by now."""
    for name, known in state.books.models.items():
        if known.failure is not None and _is_healed(state, name, known):
            known.failure, known.least_bytes, known.lost_loads = None, None, 0
            # Gateways believe a failure for its whole pause: a pause of nothing ends that.
            state.gateways.tell(Failure(name, "the Model has changed", 0.0))


def _is_healed(state: PoolState, name: str, known: ModelBook) -> bool:
    assert known.failure is not None
    declared, failure = state.model(name), known.failure
    if declared is None or (declared.meta.uid, declared.meta.generation) != failure.spec:
        return True
    missing = failure.missing_members
    return bool(missing) and all(member in state.declared.serving for member in missing)
