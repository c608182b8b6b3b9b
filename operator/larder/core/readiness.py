"""When a model that is waited for is expected to be ready: what its load takes, and the loads before it.

Where no pod serves, what a pod takes to start comes first. Nothing is said of a model whose load was never measured,
nor where a load or the start of a pod takes longer than ever: missing data is no reason to send anybody away.
"""

from collections.abc import Mapping

from larder.core.books import open_books
from larder.core.planner import load_order
from larder.core.snapshot import Model, Placement, PlacementState, PodState, Snapshot, Waiting


def ready_in_seconds(snapshot: Snapshot, now_seconds: float) -> dict[str, float]:
    """Return the seconds until each waiting model is expected to be ready, of those of which it can be told.

    Loads queue for the slots of all pods that serve, in the planner's order; memory that is still to be freed, and
    loads whose time is unknown, count as taking no time: the true moment is seldom earlier.
    """
    loading = [p for p in snapshot.placements if p.state is PlacementState.LOADING]
    found: dict[str, float] = {}
    for placement in loading:
        remaining = _remaining_seconds(snapshot, placement, now_seconds)
        if placement.model in snapshot.waiting and remaining is not None:
            found[placement.model] = min(remaining, found.get(placement.model, remaining))
    serving = sum(pod.state is PodState.SERVING for pod in snapshot.pods.values())
    slots = max(1, snapshot.settings.loads_at_once * serving)
    busy = sum(_remaining_seconds(snapshot, placement, now_seconds) or 0.0 for placement in loading)
    full = len(loading) >= slots
    start = 0.0 if serving else _start_seconds(snapshot, now_seconds)
    for model in _queue(snapshot, {p.model for p in loading}, now_seconds):
        own = model.load_seconds.mean if model.load_seconds is not None else None
        if own is not None and start is not None:
            found[model.name] = start + max(busy / slots if full else 0.0, _pause_seconds(model, now_seconds)) + own
        busy += own or 0.0
        full = True
    return found


def _queue(snapshot: Snapshot, loading: set[str], now_seconds: float) -> list[Model]:
    """The waiting models that have no copy and none that is coming, in the order of their loads."""
    books = open_books(snapshot)
    queued: list[tuple[Model, Waiting]] = []
    for name, held in _wanted(snapshot.waiting).items():
        model = snapshot.models.get(name)
        if model is not None and not model.deleted and name not in loading and not books.answering_copies(name):
            queued.append((model, held))
    queued.sort(key=lambda entry: load_order(books, entry[0], entry[1], now_seconds))
    return [model for model, _ in queued]


def _wanted(waiting: Mapping[str, Waiting]) -> dict[str, Waiting]:
    return {name: held for name, held in waiting.items() if held.count > 0}


def _pause_seconds(model: Model, now_seconds: float) -> float:
    return max(0.0, (model.retry_at_seconds or now_seconds) - now_seconds)


def _start_seconds(snapshot: Snapshot, now_seconds: float) -> float | None:
    """Until the first pod serves; None where a start was never measured, or one takes longer than ever."""
    if snapshot.start_seconds is None:
        return None
    since = [pod.since_seconds for pod in snapshot.pods.values() if pod.state is PodState.STARTING]
    remaining = snapshot.start_seconds.mean - (now_seconds - min(since, default=now_seconds))
    return remaining if remaining > 0.0 else None


def _remaining_seconds(snapshot: Snapshot, placement: Placement, now_seconds: float) -> float | None:
    """What is left of a load; None where its time is unknown or over."""
    model = snapshot.models.get(placement.model)
    if model is None or model.load_seconds is None:
        return None
    remaining = model.load_seconds.mean - (now_seconds - placement.since_seconds)
    return remaining if remaining > 0.0 else None
