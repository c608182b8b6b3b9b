"""Which placements may be evicted for a model, and the cheapest set of them on one pod."""

from larder.core.books import Books, Kept, PodBooks
from larder.core.snapshot import Model, Placement
from larder.core.worth import Worth, resident_worth

NOTHING: Worth = (-(2**31), 0.0)
ANYTHING: Worth = (2**31, float("inf"))


def in_sequence_until(model: Model | None, placement: Placement) -> float:
    """Until when a stateful model may not be moved, because it was used lately."""
    if model is None or not model.stateful:
        return 0.0
    used_seconds = placement.since_seconds if placement.last_used_seconds is None else placement.last_used_seconds
    return used_seconds + model.sequence_idle_seconds


def is_in_sequence(model: Model | None, placement: Placement, now_seconds: float) -> bool:
    """Whether a stateful model was used too recently to be moved."""
    return now_seconds < in_sequence_until(model, placement)


def shelf(books: Books, pod: PodBooks, now_seconds: float) -> list[Kept]:
    """What may leave this pod now or later, least priority and then least value per byte first."""
    if pod.shelf is None:
        kept = [_keep(books, p, pod.is_overfull, now_seconds) for p in pod.ready.values()]
        kept.sort(key=lambda k: (k.priority, k.density, k.placement.model))
        pod.shelf = kept
    return pod.shelf


def _keep(books: Books, placement: Placement, is_overfull: bool, now_seconds: float) -> Kept:
    """What is too young to go is protected, except on an overfull pod."""
    snapshot, name = books.snapshot, placement.model
    model = snapshot.models.get(name)
    if model is None or model.deleted:
        return Kept(*NOTHING, 0.0, placement, False, 0.0)
    allowed = 0.0 if is_overfull else placement.since_seconds + snapshot.settings.protection_seconds
    if model.stateful:
        allowed = max(allowed, in_sequence_until(model, placement))
    copies = books.copies[name]
    count = 1 if len(copies) == 1 else max(1, len(books.all_copies(name)))
    needed = model.min_copies > 0 and len(books.serving_copies(name)) <= model.min_copies
    priority, value = resident_worth(snapshot, placement, count, now_seconds)
    return Kept(priority, value, value / max(1, placement.memory_bytes), placement, needed, allowed)


def yields_to(kept: Kept, newcomer: Model) -> bool:
    """Whether this placement may go for that model: not for a lower priority, min copies only for a higher one."""
    return kept.priority < newcomer.priority or (kept.priority == newcomer.priority and not kept.needed)


def cheapest_victims(
    books: Books, pod: PodBooks, newcomer: Model, now_seconds: float, most: Worth = ANYTHING
) -> tuple[Worth, list[Placement]] | None:
    """Victims on one pod that make room for `newcomer` once they left, and what is lost with them.

    The loss is the highest priority among the victims and the sum of their value. Victims that turn out not to be
    needed, because a later one alone was large enough, are kept. None: it can't be done, or not within `most`.
    """
    missing = books.size_bytes(newcomer) - pod.soon_bytes
    offered = shelf(books, pod, now_seconds)
    if not offered or (offered[0].priority == most[0] and offered[0].density * missing > most[1]):
        return None
    chosen: list[Kept] = []
    for kept in offered:
        if missing <= 0 or kept.priority > newcomer.priority:
            break
        if now_seconds < kept.from_seconds:
            continue
        if missing <= kept.placement.memory_bytes and (kept.priority, kept.value) > most:
            return None
        if yields_to(kept, newcomer):
            chosen.append(kept)
            missing -= kept.placement.memory_bytes
    if missing > 0:
        return None
    for kept in reversed(chosen[:-1]):
        if missing + kept.placement.memory_bytes <= 0:
            chosen.remove(kept)
            missing += kept.placement.memory_bytes
    loss: Worth = (max((k.priority for k in chosen), default=NOTHING[0]), sum(k.value for k in chosen))
    if loss > most:
        return None
    return loss, [k.placement for k in chosen]
