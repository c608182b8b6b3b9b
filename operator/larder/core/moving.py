"""What pods that will go hold moves to pods that stay, the most valuable first.

Into free memory, else in place of what is worth less by a margin; what finds no room stays until its pod goes and is
cold then. In a rollout a new pod is warmed the same way before it counts as ready, into free memory only: what it
takes serves on the old pod meanwhile.
"""

from larder.core.books import PodBooks
from larder.core.fetching import FETCH_MARGIN, is_refused
from larder.core.placing import Draft, best_offer, evict, place_in_free_memory
from larder.core.plan import Reason
from larder.core.snapshot import Model, Placement, PlacementState, Pod, PodState
from larder.core.worth import Worth, resident_worth

GOING = (PodState.LEAKING, PodState.RETIRING, PodState.TERMINATING)


def move_from_leaving_pods(draft: Draft) -> None:
    """Load elsewhere what is ready only on pods that will go."""
    books = draft.books
    for placement, model in _by_value(draft, [p for p in books.pods.values() if p.pod.state in GOING]):
        serving = books.serving_copies(model.name)
        if any(copy.state is PlacementState.READY for copy in serving):
            continue
        if serving or model.name in draft.awaited or _move(draft, placement, model):
            draft.moving.setdefault(placement.pod, []).append(model.name)


def warm_new_pods(draft: Draft) -> None:
    """Load on the new pods of a rollout what only old ones hold."""
    pods = draft.books.pods.values()
    fresh = [p for p in pods if p.pod.state is PodState.SERVING and not p.pod.outdated]
    old = [p for p in pods if p.pod.state is PodState.SERVING and p.pod.outdated]
    if not fresh or not old:
        return
    for placement, model in _by_value(draft, old):
        copies = draft.books.serving_copies(model.name)
        stays = any(not draft.books.pods[copy.pod].pod.outdated for copy in copies)
        if stays or (model.max_copies is not None and len(copies) >= model.max_copies) or is_refused(draft, model):
            continue
        why = f"{placement.pod} will be replaced"
        place_in_free_memory(draft, model, Reason.REBALANCE, why, fresh)


def _by_value(draft: Draft, pods: list[PodBooks]) -> list[tuple[Placement, Model]]:
    """The ready placements of these pods that can be moved, one a model, most valuable first."""
    found: dict[str, tuple[Worth, Placement, Model]] = {}
    for pod in pods:
        for name, placement in pod.ready.items():
            model = draft.books.snapshot.models.get(name)
            if model is None or model.deleted or model.stateful or name in found:
                continue
            found[name] = (resident_worth(draft.books.snapshot, placement, 1, draft.now_seconds), placement, model)
    ordered = sorted(found.items(), key=lambda entry: (-entry[1][0][0], -entry[1][0][1], entry[0]))
    return [(placement, model) for _, (_, placement, model) in ordered]


def _move(draft: Draft, placement: Placement, model: Model) -> bool:
    """Begin to move one model; whether it moves or only waits for its turn."""
    if is_refused(draft, model):
        return False
    pod = draft.books.pods[placement.pod].pod
    why = f"its pod {pod.name} is {pod.state.value}"
    if place_in_free_memory(draft, model, _reason(pod), why) or _has_room_soon(draft, model):
        return True
    if not _may_evict(draft, pod.state):
        return pod.state is PodState.RETIRING
    return _evict(draft, placement, model, why)


def _reason(pod: Pod) -> Reason:
    return Reason.RECYCLE if pod.retirement is None else pod.retirement.reason


def _has_room_soon(draft: Draft, model: Model) -> bool:
    """Whether memory is free, or on its way out, where every load slot is busy; it is kept for this model."""
    size = draft.books.size_bytes(model)
    for pod in draft.books.pods.values():
        if pod.pod.state is PodState.SERVING and model.name not in pod.models and pod.soon_bytes >= size:
            draft.books.reserve(pod, size)
            return True
    return False


def _may_evict(draft: Draft, state: PodState) -> bool:
    """A pod that starts has free memory soon: only what goes now is worth an eviction meanwhile."""
    if state is PodState.RETIRING:
        return not any(p.pod.state is PodState.STARTING for p in draft.books.pods.values())
    return state is PodState.TERMINATING


def _evict(draft: Draft, placement: Placement, model: Model, why: str) -> bool:
    books = draft.books
    takers = [p for p in books.pods.values() if books.may_start_load(p, model)]
    priority, value = resident_worth(books.snapshot, placement, 1, draft.now_seconds)
    offer = best_offer(draft, model, takers, (priority, value / FETCH_MARGIN))
    if offer is not None:
        evict(draft, model, offer, _reason(books.pods[placement.pod].pod), why)
    return offer is not None
