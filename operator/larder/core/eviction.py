"""Which placements may be evicted for a model, and the cheapest set of them on one pod."""

from larder.core.books import Books, PodBooks
from larder.core.snapshot import Model, Placement
from larder.core.worth import Worth, resident_worth


def is_protected(books: Books, placement: Placement, now_seconds: float) -> bool:
    """Whether a placement is too young to go. An overfull pod protects nothing."""
    if books.pods[placement.pod].is_overfull:
        return False
    return now_seconds - placement.since_seconds < books.snapshot.settings.protection_seconds


def is_in_sequence(model: Model | None, placement: Placement, now_seconds: float) -> bool:
    """Whether a stateful model was used too recently to be moved."""
    if model is None or not model.stateful:
        return False
    used_seconds = placement.since_seconds if placement.last_used_seconds is None else placement.last_used_seconds
    return now_seconds - used_seconds < model.sequence_idle_seconds


def may_evict(books: Books, placement: Placement, newcomer: Model | None, now_seconds: float) -> bool:
    """Whether this READY placement may go for `newcomer` (None: because its pod is overfull)."""
    model = books.snapshot.models.get(placement.model)
    if model is None or model.deleted:
        return True
    if is_protected(books, placement, now_seconds) or is_in_sequence(model, placement, now_seconds):
        return False
    if newcomer is None:
        return True
    if model.priority > newcomer.priority:
        return False
    needed = len(books.serving_copies(model.name)) <= model.min_copies
    return newcomer.priority > model.priority or not needed


def candidates(
    books: Books, pod: PodBooks, newcomer: Model | None, now_seconds: float
) -> list[tuple[Worth, Placement]]:
    """What may go from this pod, least worth per byte first, with its worth."""
    ranked = []
    for placement in pod.ready.values():
        if not may_evict(books, placement, newcomer, now_seconds):
            continue
        copies = max(1, len(books.all_copies(placement.model)))
        worth = resident_worth(books.snapshot, placement, copies, now_seconds)
        density = worth[1] / max(1, placement.memory_bytes)
        ranked.append(((worth[0], density, placement.model), worth, placement))
    ranked.sort(key=lambda entry: entry[0])
    return [(worth, placement) for _, worth, placement in ranked]


def cheapest_victims(
    books: Books, pod: PodBooks, need_bytes: int, newcomer: Model | None, now_seconds: float
) -> tuple[Worth, list[Placement]] | None:
    """Victims on one pod that make `need_bytes` available once they left, and what is lost with them.

    The loss is the highest priority among the victims and the sum of their value. None: it can't be done.
    Victims that turn out not to be needed, because a later one alone was large enough, are kept.
    """
    missing = need_bytes - pod.soon_bytes
    chosen: list[tuple[Worth, Placement]] = []
    for worth, placement in candidates(books, pod, newcomer, now_seconds):
        if missing <= 0:
            break
        chosen.append((worth, placement))
        missing -= placement.memory_bytes
    if missing > 0:
        return None
    for entry in sorted(chosen, key=lambda e: e[0], reverse=True):
        if missing + entry[1].memory_bytes <= 0:
            chosen.remove(entry)
            missing += entry[1].memory_bytes
    loss = (max((w[0] for w, _ in chosen), default=-(2**31)), sum(w[1] for w, _ in chosen))
    return loss, [placement for _, placement in chosen]
