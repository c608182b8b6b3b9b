"""The planner: one pure function from a snapshot to a plan.

Order of means, cheapest first: what is resident stays; load into free memory; evict what is worth less.

A plan emits Load, Drain and Scale. It never emits Unload: the runtime carries a drained placement through
Draining and Unloading by itself once the gateways have acknowledged, or two seconds have passed. Until such a
placement has vanished from the snapshot its bytes count against its pod, and they count as on their way out:
nothing more is evicted where they will suffice, and the load follows in the plan that sees them gone.
"""

from larder.core.books import Books, PodBooks, open_books
from larder.core.eviction import candidates, is_in_sequence
from larder.core.placing import Draft, fits_nowhere, must_pause, place, place_in_free_memory
from larder.core.plan import Plan, Reason, Scale
from larder.core.snapshot import Model, PlacementState, PodState, Snapshot
from larder.core.units import format_bytes
from larder.core.worth import RATE_AGE_SECONDS


def plan(snapshot: Snapshot, now_seconds: float) -> Plan:
    """Decide everything for one pool at one moment. Deterministic; raises nothing on a well-formed snapshot."""
    draft = Draft(open_books(snapshot), now_seconds)
    _retire_deleted(draft)
    _trim_overfull_pods(draft)
    _trim_copies(draft)
    _replace_revisions(draft)
    _serve_waiting(draft)
    _keep_min_copies(draft)
    _rescue_from_leaving_pods(draft)
    _fill_free_memory(draft)
    desired, scale = _size_pool(snapshot)
    return Plan((*draft.actions, *scale), desired, tuple(draft.unplaced))


def _live_models(books: Books) -> list[Model]:
    return [m for _, m in sorted(books.snapshot.models.items()) if not m.deleted]


def _retire_deleted(draft: Draft) -> None:
    for name, copies in sorted(draft.books.copies.items()):
        model = draft.books.snapshot.models.get(name)
        if model is not None and not model.deleted:
            continue
        for placement in [c for c in copies if c.state is PlacementState.READY]:
            draft.drain(
                placement, Reason.DELETED, f"{name} is no longer declared; frees {format_bytes(placement.memory_bytes)}"
            )


def _trim_overfull_pods(draft: Draft) -> None:
    """Sizes can turn out larger than planned: a pod over its budget sheds what is worth least, down to the low mark.

    What is larger than the pod goes for that alone; as long as it is there, nothing else goes on its account.
    """
    mark = draft.books.snapshot.settings.low_watermark
    for pod in draft.books.pods.values():
        if pod.soon_bytes >= 0:
            continue
        too_large_bytes = _shed_too_large(draft, pod)
        if pod.soon_bytes + too_large_bytes >= 0:
            continue
        floor_bytes = int(pod.pod.capacity_bytes * (1.0 - mark)) - too_large_bytes
        for _, placement in candidates(draft.books, pod, None, draft.now_seconds):
            if pod.soon_bytes >= floor_bytes:
                break
            used, capacity = format_bytes(pod.pod.capacity_bytes - pod.free_bytes), format_bytes(pod.pod.capacity_bytes)
            text = f"{pod.pod.name} holds {used} of {capacity}; {placement.model} is worth least"
            draft.drain(placement, Reason.MEMORY_PRESSURE, text)


def _shed_too_large(draft: Draft, pod: PodBooks) -> int:
    """Drain what is larger than the whole pod; return the bytes of what is and stays for now."""
    copies = [c for name in sorted(pod.models) for c in draft.books.all_copies(name) if c.pod == pod.pod.name]
    staying_bytes = 0
    for placement in [c for c in copies if c.memory_bytes > pod.pod.capacity_bytes]:
        model = draft.books.snapshot.models.get(placement.model)
        if placement.state is PlacementState.READY and not is_in_sequence(model, placement, draft.now_seconds):
            need, capacity = format_bytes(placement.memory_bytes), format_bytes(pod.pod.capacity_bytes)
            text = f"{placement.model} needs {need}; {pod.pod.name} has {capacity} for models"
            draft.drain(placement, Reason.MEMORY_PRESSURE, text)
        else:
            staying_bytes += placement.memory_bytes
    return staying_bytes


def _trim_copies(draft: Draft) -> None:
    for model in _live_models(draft.books):
        if model.max_copies is None:
            continue
        ready = [c for c in draft.books.all_copies(model.name) if c.state is PlacementState.READY]
        extra = len(draft.books.serving_copies(model.name)) - model.max_copies
        ready.sort(key=lambda c: (c.last_used_seconds or c.since_seconds, c.pod))
        for placement in ready[: max(0, extra)]:
            if not is_in_sequence(model, placement, draft.now_seconds):
                text = f"{model.name} has {extra} copies more than its maximum of {model.max_copies}"
                draft.drain(placement, Reason.REBALANCE, text)


def _replace_revisions(draft: Draft) -> None:
    """Copy by copy: the new revision first where memory is free on another pod, else the old one leaves first."""
    for model in _live_models(draft.books):
        copies = draft.books.copies.get(model.name, [])
        old = [c for c in copies if c.revision != model.revision and c.state is PlacementState.READY]
        if not old or any(c.state is not PlacementState.READY for c in copies) or must_pause(draft, model):
            continue
        oldest = min(old, key=lambda c: (c.since_seconds, c.pod))
        if is_in_sequence(model, oldest, draft.now_seconds):
            continue
        _replace_copy(draft, model, oldest.pod)


def _replace_copy(draft: Draft, model: Model, pod_name: str) -> None:
    copies = draft.books.all_copies(model.name)
    old = next(c for c in copies if c.pod == pod_name)
    change = f"{model.name} goes from revision {old.revision!r} to {model.revision!r}"
    new = [c for c in copies if c.revision == model.revision]
    wanted = max(1, model.min_copies)
    room_for_more = model.max_copies is None or len(copies) < model.max_copies
    if len(new) < wanted and room_for_more and place_in_free_memory(draft, model, Reason.REVISION, change):
        return
    draft.drain(old, Reason.REVISION, f"{change}; the copy on {pod_name} frees {format_bytes(old.memory_bytes)}")


def _serve_waiting(draft: Draft) -> None:
    waiting = [(m, w) for n, w in draft.books.snapshot.waiting.items() if (m := draft.books.snapshot.models.get(n))]
    waiting.sort(key=lambda entry: (-entry[0].priority, entry[1].deadline_seconds, entry[0].name))
    for model, held in waiting:
        if model.deleted or held.count <= 0 or draft.books.answering_copies(model.name):
            continue
        age_seconds = max(0.0, draft.now_seconds - held.oldest_seconds)
        place(draft, model, Reason.COLD_REQUEST, f"{held.count} waiting, the oldest for {age_seconds:.3f} s")


def _keep_min_copies(draft: Draft) -> None:
    short = []
    for model in _live_models(draft.books):
        missing = _wanted_copies(model) - len(draft.books.serving_copies(model.name))
        short += [(n, -model.priority, model.name, model) for n in range(missing)]
    for _, _, _, model in sorted(short, key=lambda entry: entry[:3]):
        have = len(draft.books.serving_copies(model.name))
        refused = {u.model for u in draft.unplaced}
        if model.name not in refused:
            place(draft, model, Reason.MIN_COPIES, f"{model.name} has {have} copies of at least {model.min_copies}")


def _wanted_copies(model: Model) -> int:
    return model.min_copies if model.max_copies is None else min(model.min_copies, model.max_copies)


def _rescue_from_leaving_pods(draft: Draft) -> None:
    """What is ready only on pods that will go is loaded elsewhere, into free memory."""
    for model in _live_models(draft.books):
        copies = draft.books.all_copies(model.name)
        if not copies or draft.books.serving_copies(model.name) or model.stateful:
            continue
        pod = draft.books.pods[copies[0].pod].pod
        if not _is_refused(draft, model):
            place_in_free_memory(draft, model, Reason.RECYCLE, f"its pod {pod.name} is {pod.state.value}")


def _fill_free_memory(draft: Draft) -> None:
    """A model that is asked for and resident nowhere is loaded where nothing has to leave for it."""
    snapshot = draft.books.snapshot
    wanted = []
    for model in _live_models(draft.books):
        rate = snapshot.rates.get(model.name)
        if rate is None or rate.per_second <= 0 or draft.now_seconds - rate.at_seconds > RATE_AGE_SECONDS:
            continue
        if not draft.books.copies.get(model.name) and not _is_refused(draft, model):
            wanted.append((-model.priority, -rate.per_second, model.name, model))
    for _, negative_rate, _, model in sorted(wanted, key=lambda entry: entry[:3]):
        place_in_free_memory(draft, model, Reason.DEMAND, f"asked for {-negative_rate:.3g} times a second")


def _is_refused(draft: Draft, model: Model) -> bool:
    if any(u.model == model.name for u in draft.unplaced):
        return True
    return fits_nowhere(draft, model) or must_pause(draft, model)


def _size_pool(snapshot: Snapshot) -> tuple[int, tuple[Scale, ...]]:
    settings, live = snapshot.settings, sum(p.state is not PodState.TERMINATING for p in snapshot.pods.values())
    if settings.fixed_pods is not None:
        desired, reason, why = settings.fixed_pods, Reason.FIXED_BY_USER, f"fixed at {settings.fixed_pods} by the user"
    else:
        asked = live if snapshot.asked_pods is None else snapshot.asked_pods
        desired = min(max(asked, settings.min_pods), settings.max_pods)
        reason = Reason.POOL_SCALE_UP if desired > asked else Reason.POOL_SCALE_DOWN
        why = f"{asked} pods are outside {settings.min_pods} to {settings.max_pods}"
    if snapshot.asked_pods is None or snapshot.asked_pods == desired:
        return desired, ()
    return desired, (Scale(desired, reason, f"{why}; from {snapshot.asked_pods} to {desired} pods"),)
