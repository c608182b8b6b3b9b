"""A plan becomes tasks: each action is checked once more against what is true now, and begun or dropped."""

import logging
from collections.abc import Callable

from larder.core.plan import Action, Drain, Load, Plan, Reason, Scale, Unload
from larder.core.recheck import still_holds
from larder.core.snapshot import Snapshot
from larder.runtime.arriving import begin_load, begin_reload
from larder.runtime.books import PodBook
from larder.runtime.gather import capacity_bytes
from larder.runtime.leaving import begin_drain
from larder.runtime.publish import is_full
from larder.runtime.state import PoolState

log = logging.getLogger(__name__)


def apply(
    state: PoolState, plan: Plan, look: Callable[[], Snapshot], scale: Callable[[int], None]
) -> tuple[Action, ...]:
    """Begin what holds; return what was begun. `look` takes a fresh snapshot, `scale` sets the number of pods."""
    begun: list[Action] = []
    for action in plan.actions:
        why = still_holds(action, look(), state.clock.unix()) or _obstacle(state, action)
        if why:
            log.debug("dropped: %s: %s", action, why)
            state.report.dropped(action)
            continue
        _begin(state, action, scale)
        begun.append(action)
    return tuple(begun)


def _obstacle(state: PoolState, action: Action) -> str | None:
    """What only this side of the planner knows."""
    if isinstance(action, Scale):
        return None
    book = state.books.pods.get(action.pod)
    if book is None or not book.is_adopted:
        return f"{action.pod} is not adopted"
    if action.model in book.changing:
        return f"{action.model} is changing on {action.pod}"
    if isinstance(action, Load) and is_full(book, state.fence.term):
        state.books.unpublished[action.pod] = f"Pod {action.pod}: no more models fit on a pod in its annotation"
        return f"the annotation of {action.pod} is full"
    return None


def _begin(state: PoolState, action: Action, scale: Callable[[int], None]) -> None:
    match action:
        case Load():
            state.report.decided(action, state.model(action.model))
            begin_load(state, state.books.pods[action.pod], action)
        case Drain():
            state.report.decided(action, state.model(action.model))
            _begin_drain(state, state.books.pods[action.pod], action)
        case Scale(pods=pods):
            state.report.decided(action, None)
            scale(pods)
        case Unload():
            # A drain carries its unload with it; planners may state it, nothing is left to begin.
            pass


def _begin_drain(state: PoolState, book: PodBook, action: Drain) -> None:
    """A new revision comes in place where both fit: what serves goes on serving, also when the new one fails."""
    model = state.model(action.model)
    if action.reason is Reason.REVISION and model is not None and _fits_twice(state, book, action.model):
        begin_reload(state, book, action, model.revision)
    else:
        begin_drain(state, book, action)


def _fits_twice(state: PoolState, book: PodBook, model: str) -> bool:
    used = sum(p.memory_bytes for p in book.placements.values()) + book.reloading_bytes + sum(book.unmanaged.values())
    return used + book.placements[model].memory_bytes <= capacity_bytes(state.pool)
