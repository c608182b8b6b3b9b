"""Whether an action still holds when it is applied: the world has moved since its snapshot was taken."""

from larder.core.books import Books, PodBooks, open_books
from larder.core.eviction import is_in_sequence
from larder.core.plan import Action, Dismiss, Drain, Keep, Load, Reason, Retire, Scale, Unload
from larder.core.snapshot import Model, Placement, PlacementState, PodState, Snapshot
from larder.core.units import counted, format_bytes


def still_holds(action: Action, snapshot: Snapshot, now_seconds: float) -> str | None:
    """None if the action may be applied to the present snapshot, else the sentence that says why not."""
    match action:
        case Load():
            return _load_holds(action, open_books(snapshot), now_seconds)
        case Drain():
            return _drain_holds(action, snapshot, now_seconds)
        case Unload():
            return _state_holds(action, snapshot, PlacementState.DRAINING)
        case Scale():
            return _scale_holds(action, snapshot)
        case Retire():
            return _retire_holds(action, snapshot)
        case Dismiss() | Keep():
            return _is_retiring(action, snapshot)


def _load_holds(action: Load, books: Books, now_seconds: float) -> str | None:
    model, pod = books.snapshot.models.get(action.model), books.pods.get(action.pod)
    if model is None or model.deleted:
        return f"{action.model} is no longer declared"
    if pod is None or pod.pod.state is not PodState.SERVING:
        return f"{action.pod} is not serving"
    return _wants_load(action, model, books, now_seconds) or _has_room(action, model, books, pod)


def _wants_load(action: Load, model: Model, books: Books, now_seconds: float) -> str | None:
    if model.retry_at_seconds is not None and model.retry_at_seconds > now_seconds:
        return f"{action.model} failed to load and waits for its next try"
    if action.revision != model.revision:
        return f"{action.model} is now at revision {model.revision!r}"
    copies = len(books.serving_copies(action.model))
    if model.max_copies is not None and copies >= model.max_copies:
        return f"{action.model} has {copies} copies of at most {model.max_copies}"
    return None


def _has_room(action: Load, model: Model, books: Books, pod: PodBooks) -> str | None:
    if action.model in pod.models:
        return f"{action.model} is already on {action.pod}"
    if not books.may_start_load(pod, model):
        return f"no load slot is free on {action.pod}: {pod.loading} loads run"
    need_bytes = max(action.memory_bytes, books.size_bytes(model))
    if need_bytes > pod.free_bytes:
        return f"{action.model} needs {format_bytes(need_bytes)}; {action.pod} has {format_bytes(pod.free_bytes)} free"
    return None


def _drain_holds(action: Drain, snapshot: Snapshot, now_seconds: float) -> str | None:
    if reason := _state_holds(action, snapshot, PlacementState.READY):
        return reason
    model = snapshot.models.get(action.model)
    if action.reason is Reason.DELETED:
        return None if model is None or model.deleted else f"{action.model} is declared again"
    placement = _find(action, snapshot)
    if placement is not None and is_in_sequence(model, placement, now_seconds):
        return f"{action.model} is stateful and was used within {model.sequence_idle_seconds if model else 0:g} s"
    return None


def _find(action: Drain | Unload, snapshot: Snapshot) -> Placement | None:
    return next((p for p in snapshot.placements if (p.model, p.pod) == (action.model, action.pod)), None)


def _state_holds(action: Drain | Unload, snapshot: Snapshot, state: PlacementState) -> str | None:
    placement = _find(action, snapshot)
    if placement is None:
        return f"{action.model} is not on {action.pod}"
    if placement.state is not state:
        return f"{action.model} on {action.pod} is {placement.state.value}, not {state.value}"
    return None


def _scale_holds(action: Scale, snapshot: Snapshot) -> str | None:
    settings = snapshot.settings
    if action.victim is not None:
        pod = snapshot.pods.get(action.victim)
        told = pod.retirement if pod is not None else None
        return None if told is not None and told.to_pods == action.pods else f"{action.victim} does not go any more"
    spare = settings.surge_pods if action.reason is Reason.RECYCLE else 0
    if settings.fixed_pods is not None:
        allowed = 0 <= action.pods - settings.fixed_pods <= spare
        return None if allowed else f"the user fixed {counted(settings.fixed_pods, 'pod')}"
    if not settings.min_pods <= action.pods <= settings.max_pods + spare:
        return f"{action.pods} pods are outside {settings.min_pods} to {settings.max_pods}"
    return None


def _retire_holds(action: Retire, snapshot: Snapshot) -> str | None:
    pod = snapshot.pods.get(action.pod)
    if pod is None or pod.state is PodState.TERMINATING:
        return f"{action.pod} goes already"
    others = [p.name for p in snapshot.pods.values() if p.retirement and p.state is not PodState.TERMINATING]
    return f"{others[0]} goes first" if others else None


def _is_retiring(action: Dismiss | Keep, snapshot: Snapshot) -> str | None:
    pod = snapshot.pods.get(action.pod)
    if pod is None or pod.retirement is None or pod.state is PodState.TERMINATING:
        return f"{action.pod} is not retiring"
    if isinstance(action, Dismiss) and pod.retirement.told_seconds is not None:
        return f"{action.pod} is dismissed already"
    return None
