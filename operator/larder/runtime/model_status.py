"""The status of Models: pure functions of what is declared, booked and planned."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from larder.api.conditions import Condition, ConditionReason, ModelCondition
from larder.api.resources import Model, ModelPool
from larder.api.status import ModelStatus, Phase, PlacementStatus, derive_phase
from larder.core.plan import Unplaced
from larder.core.snapshot import Placement, PlacementState
from larder.core.units import format_bytes
from larder.runtime.books import Books, ModelBook
from larder.runtime.gather import capacity_bytes, size_bytes
from larder.runtime.memory import missing_members, tried


@dataclass(frozen=True, slots=True)
class Facts:
    """What the status of every Model of one pool is made of."""

    pool: ModelPool
    serving: Mapping[str, Model]
    books: Books
    placements: Mapping[str, tuple[Placement, ...]]
    unplaced: Mapping[str, Unplaced] = field(default_factory=dict)


def facts(pool: ModelPool, serving: Mapping[str, Model], books: Books, unplaced: Mapping[str, Unplaced]) -> Facts:
    """Sort the placements by model."""
    by_model: dict[str, tuple[Placement, ...]] = {}
    for placement in books.placements():
        by_model[placement.model] = (*by_model.get(placement.model, ()), placement)
    return Facts(pool, serving, books, by_model, unplaced)


def made_of(model: Model, given: Facts) -> tuple[object, ...]:
    """All that `serving_status` is made of: where it is the same as before, so is the status."""
    book = given.books.known(model.served_name)
    has_members = book.members or (book.failure is not None and book.failure.missing_members)
    return (
        model,
        given.pool.memory,
        given.serving if has_members else None,
        given.placements.get(model.served_name),
        given.unplaced.get(model.served_name),
        *book.planned_by,
        book.waits_because,
        book.members,
        book.last_decision,
    )


def serving_status(model: Model, given: Facts) -> ModelStatus:
    """The status of a Model that has its served name to itself."""
    book = given.books.known(model.served_name)
    placements = given.placements.get(model.served_name, ())
    states = [placement.state for placement in placements]
    default_bytes = given.pool.memory.default_model_bytes
    size = size_bytes(model, given.books, given.serving, default_bytes)
    fits = (default_bytes if size is None else size) <= capacity_bytes(given.pool)
    phase = derive_phase(states, blocked=not fits, failed=book.failure is not None)
    return ModelStatus(
        observed_generation=model.meta.generation,
        phase=phase,
        pool=model.pool,
        slo=model.slo,
        placements=tuple(PlacementStatus(p.pod, p.state, p.since_seconds, p.revision) for p in placements),
        memory_bytes=book.footprint.size_bytes if book.footprint is not None else None,
        load_seconds=book.load_seconds.mean if book.load_seconds else None,
        execution_seconds=book.execution_seconds.mean if book.execution_seconds else None,
        conditions=_numbered(model.meta.generation, _conditions(model, given, book, phase)),
        last_decision=book.last_decision,
    )


def conflicting_status(model: Model, older: Model) -> ModelStatus:
    """The status of a Model whose served name an older one has."""
    text = f"Model {older.meta.name} is older and serves {model.served_name} in this pool"
    conditions = (
        Condition(ModelCondition.READY, False, ConditionReason.CONFLICT, text),
        Condition(ModelCondition.ACCEPTED, False, ConditionReason.CONFLICT, text),
        Condition(ModelCondition.POOL_FOUND, True, ConditionReason.AS_EXPECTED),
    )
    return _plain(model, Phase.CONFLICT, conditions)


def orphaned_status(model: Model) -> ModelStatus:
    """The status of a Model whose pool is not there."""
    text = f"there is no ModelPool {model.pool} in namespace {model.meta.namespace}"
    conditions = (
        Condition(ModelCondition.READY, False, ConditionReason.POOL_NOT_FOUND, text),
        Condition(ModelCondition.ACCEPTED, True, ConditionReason.AS_EXPECTED),
        Condition(ModelCondition.POOL_FOUND, False, ConditionReason.POOL_NOT_FOUND, text),
    )
    return _plain(model, Phase.PENDING, conditions)


def unreadable_status(generation: int, message: str) -> ModelStatus:
    """The status of a Model whose spec can't be read."""
    conditions = (
        Condition(ModelCondition.READY, False, ConditionReason.INVALID_SPEC, message),
        Condition(ModelCondition.ACCEPTED, False, ConditionReason.INVALID_SPEC, message),
    )
    return ModelStatus(generation, Phase.PENDING, "", conditions=_numbered(generation, conditions))


def _plain(model: Model, phase: Phase, conditions: tuple[Condition, ...]) -> ModelStatus:
    return ModelStatus(
        observed_generation=model.meta.generation,
        phase=phase,
        pool=model.pool,
        slo=model.slo,
        conditions=_numbered(model.meta.generation, conditions),
    )


def _numbered(generation: int, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return tuple(
        Condition(c.type, c.status, c.reason, c.message, generation, c.last_transition_seconds) for c in conditions
    )


def _conditions(model: Model, given: Facts, book: ModelBook, phase: Phase) -> tuple[Condition, ...]:
    fits = _fits(model, given)
    found = (
        _ready(model, given, book, phase, fits.message),
        Condition(ModelCondition.ACCEPTED, True, ConditionReason.AS_EXPECTED),
        Condition(ModelCondition.POOL_FOUND, True, ConditionReason.AS_EXPECTED),
        fits,
        _loaded(book, phase),
    )
    members = _members(book, given.serving)
    return found if members is None else (*found, members)


def _ready(model: Model, given: Facts, book: ModelBook, phase: Phase, too_large: str) -> Condition:
    if phase is Phase.READY:
        return Condition(ModelCondition.READY, True, ConditionReason.AS_EXPECTED)
    unplaced = given.unplaced.get(model.served_name)
    why = unplaced.message if unplaced is not None else book.waits_because
    reason = {
        Phase.PENDING: ConditionReason.OVER_BUDGET,
        Phase.LOADING: ConditionReason.LOADING,
        Phase.UNLOADING: ConditionReason.UNLOADING,
        Phase.FAILED: ConditionReason.LOAD_FAILED,
    }.get(phase, ConditionReason.LOADS_ON_REQUEST)
    if phase is Phase.FAILED and book.failure is not None:
        why = book.failure.message
    return Condition(ModelCondition.READY, False, reason, why or too_large or "the first request loads it")


def _fits(model: Model, given: Facts) -> Condition:
    default_bytes = given.pool.memory.default_model_bytes
    known = size_bytes(model, given.books, given.serving, default_bytes)
    size, capacity = default_bytes if known is None else known, capacity_bytes(given.pool)
    if size <= capacity:
        return Condition(ModelCondition.FITS, True, ConditionReason.AS_EXPECTED)
    text = (
        f"{model.served_name} needs {format_bytes(size)} ({size} bytes); "
        f"a pod has {format_bytes(capacity)} ({capacity} bytes) for models"
    )
    return Condition(ModelCondition.FITS, False, ConditionReason.OVER_BUDGET, text)


def _loaded(book: ModelBook, phase: Phase) -> Condition:
    failure = book.failure
    if failure is not None:
        reason = ConditionReason.RELOAD_FAILED if failure.reload else ConditionReason.LOAD_FAILED
        return Condition(ModelCondition.LOADED, False, reason, tried(failure))
    if phase is Phase.READY or book.last_bytes is not None:
        return Condition(ModelCondition.LOADED, True, ConditionReason.AS_EXPECTED)
    return Condition(ModelCondition.LOADED, None, ConditionReason.NOT_YET_KNOWN, "it was not loaded yet")


def _members(book: ModelBook, serving: Mapping[str, Model]) -> Condition | None:
    named = book.members or (book.failure.missing_members if book.failure is not None else ())
    if not named:
        return None
    missing = tuple(name for name in named if name not in serving)
    if not missing:
        return Condition(ModelCondition.MEMBERS_DECLARED, True, ConditionReason.AS_EXPECTED)
    text = missing_members(missing)
    return Condition(ModelCondition.MEMBERS_DECLARED, False, ConditionReason.MEMBERS_MISSING, text)


def is_resident(placements: tuple[Placement, ...]) -> bool:
    """Whether a copy serves."""
    return any(placement.state is PlacementState.READY for placement in placements)
