"""A plan becomes tasks: each action is checked once more against what is true now, and begun or dropped."""

import logging
from collections.abc import Callable

from larder.api.resources import Model
from larder.core.books import open_books
from larder.core.plan import Action, Dismiss, Drain, Keep, Load, Plan, Reason, Retire, Scale, Unload
from larder.core.recheck import still_holds
from larder.core.snapshot import PlacementState, Snapshot
from larder.runtime.arriving import begin_load, begin_reload
from larder.runtime.books import Coming, PodBook
from larder.runtime.gather import size_bytes
from larder.runtime.leaving import begin_drain
from larder.runtime.publish import is_full
from larder.runtime.retirement import begin_mark
from larder.runtime.state import PoolState

log = logging.getLogger(__name__)


def apply(
    state: PoolState, plan: Plan, look: Callable[[Action], Snapshot], scale: Callable[[int], None]
) -> tuple[Action, ...]:
    """Begin what holds; return what was begun. `look` shows what an action touches, `scale` sets the number of pods."""
    begun: list[Action] = []
    for action in plan.actions:
        why = still_holds(action, look(action), state.clock.unix()) or _obstacle(state, action)
        if why:
            log.debug("dropped: %s: %s", action, why)
            state.report.dropped(action)
            continue
        _begin(state, action, look, scale)
        begun.append(action)
    return tuple(begun)


def _obstacle(state: PoolState, action: Action) -> str | None:
    """What only this side of the planner knows."""
    if isinstance(action, Scale | Retire | Dismiss | Keep):
        return None
    book = state.books.pods.get(action.pod)
    if book is None or not book.is_adopted:
        return f"{action.pod} is not adopted"
    if not _is_waited_for(action) and (why := _reading_first(state, book, action)):
        return why
    if action.model in book.changing:
        return f"{action.model} is changing on {action.pod}"
    if isinstance(action, Load) and is_full(book, state.fence.term):
        state.books.unpublished[action.pod] = f"Pod {action.pod}: no more models fit on a pod in its annotation"
        return f"the annotation of {action.pod} is full"
    return _entangled(state, book, action.model) if isinstance(action, Load) else None


def _reading_first(state: PoolState, book: PodBook, action: Load | Drain | Unload) -> str | None:
    """A size is learned from a reading before and one after a load, with nothing else between."""
    if book.measuring:
        return f"{book.measuring} is measured on {action.pod} first"
    asked_first = not book.is_metered and not book.meter_error
    if isinstance(action, Load) and asked_first and state.books.known(action.model).footprint is None:
        return f"what {action.pod} takes without {action.model} is measured first"
    return None


def _is_waited_for(action: Action) -> bool:
    """Whether requests wait for what an action makes room for, or brings."""
    return action.reason in (Reason.COLD_REQUEST, Reason.MEMORY_PRESSURE)


def _entangled(state: PoolState, book: PodBook, model: str) -> str | None:
    """Triton starts a second copy of a model that it is to pull in while that one leaves, or comes for itself."""
    family = _family(state, model)
    for name, placement in book.placements.items():
        if placement.state is not PlacementState.READY and family & _family(state, name):
            return f"{name}, which shares models with {model}, is {placement.state.value} on {book.view.name}"
    return None


def _family(state: PoolState, model: str) -> set[str]:
    """The model and, of an ensemble, its members as far as they are known."""
    return {model, *(state.books.known(model).members or ())}


def _begin(state: PoolState, action: Action, look: Callable[[Action], Snapshot], scale: Callable[[int], None]) -> None:
    match action:
        case Load():
            state.report.decided(action, state.model(action.model))
            begin_load(state, state.books.pods[action.pod], action)
        case Drain():
            state.report.decided(action, state.model(action.model))
            free_bytes = open_books(look(action)).pods[action.pod].free_bytes
            _begin_drain(state, state.books.pods[action.pod], action, free_bytes)
        case Scale(pods=pods):
            state.report.decided(action, None)
            scale(pods)
        case Retire() | Dismiss() | Keep():
            state.report.decided(action, None)
            begin_mark(state, state.books.pods[action.pod], action)
        case Unload():
            # A drain carries its unload with it; planners may state it, nothing is left to begin.
            pass


def _begin_drain(state: PoolState, book: PodBook, action: Drain, free_bytes: int) -> None:
    """A new revision comes in place where both fit: what serves goes on serving, also when the new one fails."""
    model = state.model(action.model)
    if action.reason is Reason.REVISION and model is not None:
        coming = Coming(model.revision, _coming_bytes(state, book, model))
        if coming.memory_bytes <= free_bytes:
            begin_reload(state, book, action, coming)
            return
    begin_drain(state, book, action)


def _coming_bytes(state: PoolState, book: PodBook, model: Model) -> int:
    """What the new copy takes, at most as far as is known: a new revision may come with another size."""
    default_bytes = state.pool.memory.default_model_bytes
    size = size_bytes(model, state.books, state.declared.serving, default_bytes)
    return max(book.placements[model.served_name].memory_bytes, size or 0)
