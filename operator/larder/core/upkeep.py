"""What a plan sets right before it serves anyone: undeclared models, overfull pods, extra copies, old revisions."""

from operator import attrgetter

from larder.core.books import PodBooks
from larder.core.eviction import is_in_sequence, shelf
from larder.core.placing import Draft, must_pause, place_in_free_memory
from larder.core.plan import Reason
from larder.core.snapshot import Model, Placement, PlacementState
from larder.core.units import format_bytes


def retire_deleted(draft: Draft) -> None:
    """What is no longer declared leaves, whatever its age."""
    copies, models = draft.books.copies, draft.books.snapshot.models
    for name in sorted(n for n in copies if n not in models or models[n].deleted):
        for placement in [c for c in copies[name] if c.state is PlacementState.READY]:
            draft.drain(
                placement, Reason.DELETED, f"{name} is no longer declared; frees {format_bytes(placement.memory_bytes)}"
            )


def trim_overfull_pods(draft: Draft) -> None:
    """What models really take can outgrow what was planned: a pod over its capacity sheds what is worth least, down to
    the low mark, and protects nothing. What is measured decides; where nobody measures, what is counted.

    What is larger than the pod goes for that alone; as long as it is there, nothing else goes on its account.
    """
    mark = draft.books.snapshot.settings.low_watermark
    for pod in draft.books.pods.values():
        if pod.room_bytes >= 0:
            continue
        too_large_bytes = _shed_too_large(draft, pod)
        if pod.room_bytes + too_large_bytes >= 0:
            continue
        floor_bytes = int(pod.pod.capacity_bytes * (1.0 - mark)) - too_large_bytes
        kept = shelf(draft.books, pod, draft.now_seconds)
        for placement in [k.placement for k in kept if k.from_seconds <= draft.now_seconds]:
            if pod.room_bytes >= floor_bytes:
                break
            text = f"{pod.pod.name} holds {_held(pod)}; {placement.model} is worth least"
            draft.drain(placement, Reason.MEMORY_PRESSURE, text)


def _held(pod: PodBooks) -> str:
    capacity = pod.pod.capacity_bytes
    if pod.pod.used_bytes is not None:
        return f"{format_bytes(pod.pod.used_bytes)} of {format_bytes(capacity)}, as measured"
    return f"{format_bytes(capacity - pod.free_bytes)} of {format_bytes(capacity)}"


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


def trim_copies(draft: Draft) -> None:
    """Copies beyond a model's maximum leave, those that were used longest ago first."""
    models = draft.books.snapshot.models
    limited = [models[n] for n in draft.books.copies if n in models and models[n].max_copies is not None]
    for model in sorted((m for m in limited if not m.deleted), key=attrgetter("name")):
        name, most = model.name, model.max_copies or 0
        extra = len(draft.books.serving_copies(name)) - most
        ready = [c for c in draft.books.all_copies(name) if c.state is PlacementState.READY] if extra > 0 else []
        ready.sort(key=lambda c: (c.last_used_seconds or c.since_seconds, c.pod))
        for placement in ready[: max(0, extra)]:
            if not is_in_sequence(model, placement, draft.now_seconds):
                text = f"{name} has {extra} copies more than its maximum of {most}"
                draft.drain(placement, Reason.REBALANCE, text)


def replace_revisions(draft: Draft) -> None:
    """Copy by copy: the new revision first where memory is free on another pod, else the old one leaves first."""
    models = draft.books.snapshot.models
    stale = {c.model for p in draft.books.pods.values() for c in p.ready.values() if _is_stale(models.get(c.model), c)}
    for name in sorted(stale):
        model, copies = models[name], draft.books.copies[name]
        old = [c for c in copies if c.state is PlacementState.READY and _is_stale(model, c)]
        if any(c.state is not PlacementState.READY for c in copies) or must_pause(draft, model):
            continue
        oldest = min(old, key=lambda c: (c.since_seconds, c.pod))
        if not is_in_sequence(model, oldest, draft.now_seconds):
            _replace_copy(draft, model, oldest.pod)


def _is_stale(model: Model | None, copy: Placement) -> bool:
    return model is not None and copy.revision != model.revision and not model.deleted


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
