"""Where one more copy of a model goes: free memory, memory that is being freed, or the cheapest eviction."""

from dataclasses import dataclass, field

from larder.core.books import Books, PodBooks
from larder.core.eviction import ANYTHING, cheapest_victims
from larder.core.plan import Action, Drain, Load, Reason, Unplaced
from larder.core.snapshot import Model, Placement, PodState
from larder.core.units import format_bytes
from larder.core.worth import Worth, load_seconds


@dataclass(slots=True)
class Draft:
    """A plan in the making."""

    books: Books
    now_seconds: float
    actions: list[Action] = field(default_factory=list)
    unplaced: list[Unplaced] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    awaited: dict[str, PodBooks] = field(default_factory=dict)
    """Models for which memory that is on its way out is kept, and where."""
    crowded: set[str] = field(default_factory=set)
    """Models that are waited for and for which no memory can be had now."""
    moving: dict[str, list[str]] = field(default_factory=dict)
    """By pod that will go: the models that are still to be elsewhere first."""
    largest_bytes: int | None = field(init=False)
    """The most that any pod which may take models can hold; None: no pod is known."""

    def __post_init__(self) -> None:
        pods = [p.pod for p in self.books.pods.values() if p.pod.state in (PodState.SERVING, PodState.STARTING)]
        self.largest_bytes = max((pod.capacity_bytes for pod in pods), default=None)

    def pinned(self) -> list[Model]:
        """Models that are to be resident at all times."""
        return [m for m in self.books.snapshot.models.values() if m.min_copies > 0 and not m.deleted]

    def load(self, model: Model, pod: PodBooks, reason: Reason, why: str) -> None:
        """Decide a load into free memory."""
        size, free = self.books.size_bytes(model), pod.free_bytes
        self.books.start_load(model, pod, self.now_seconds)
        message = f"{why}; {model.name} takes {format_bytes(size)} of {format_bytes(free)} free on {pod.pod.name}"
        self.actions.append(Load(model.name, pod.pod.name, size, reason, message, model.revision))

    def drain(self, placement: Placement, reason: Reason, message: str, for_model: str | None = None) -> None:
        """Decide that a ready placement leaves."""
        self.books.start_drain(placement)
        self.actions.append(Drain(placement.model, placement.pod, reason, message, for_model))

    def refuse(self, model: str, message: str, never: bool = False, again_seconds: float | None = None) -> None:
        """Note that a model could not be placed, and why."""
        self.refused.add(model)
        self.unplaced.append(Unplaced(model, message, never, again_seconds))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a cold request may cost others, in seconds of waiting, and by how much that grows in a second."""

    seconds: float
    growth: float


def fits_nowhere(draft: Draft, model: Model) -> bool:
    """Note a model larger than every pod can hold when empty; nothing is noted while no pod is known."""
    size, largest = draft.books.size_bytes(model), draft.largest_bytes
    if largest is None or size <= largest:
        return False
    text = f"{model.name} needs {format_bytes(size)}; a pod has at most {format_bytes(largest)} for models"
    draft.refuse(model.name, text, True)
    return True


def must_pause(draft: Draft, model: Model) -> bool:
    """Note a model whose last load failed and whose next try is not due."""
    if model.retry_at_seconds is None or model.retry_at_seconds <= draft.now_seconds:
        return False
    pause_seconds = model.retry_at_seconds - draft.now_seconds
    draft.refuse(model.name, f"the last load of {model.name} failed; next try in {pause_seconds:.1f} s")
    return True


def roomiest(pods: list[PodBooks]) -> PodBooks:
    """Of pods that can take a model: one that stays, then fewest loads under way, then most free bytes."""
    return min(pods, key=lambda p: (p.pod.outdated, p.loading, -p.free_bytes, p.pod.name))


def place_in_free_memory(
    draft: Draft, model: Model, reason: Reason, why: str, pods: list[PodBooks] | None = None
) -> bool:
    """Load one copy where memory and a load slot are free: fewest loads under way, then most free bytes."""
    size, among = draft.books.size_bytes(model), draft.books.pods.values() if pods is None else pods
    fitting = [p for p in among if p.free_bytes >= size and draft.books.may_start_load(p, model)]
    if not fitting:
        return False
    draft.load(model, roomiest(fitting), reason, why)
    return True


def place(draft: Draft, model: Model, reason: Reason, why: str, claim: Claim | None = None) -> None:
    """Load one copy, else wait for memory on its way out, else evict for it, else note why not.

    `claim`: what leaves must not be about to cost more; None: it may.
    """
    if fits_nowhere(draft, model) or must_pause(draft, model):
        return
    size = draft.books.size_bytes(model)
    takers = [p for p in draft.books.pods.values() if draft.books.may_start_load(p, model)]
    if not takers:
        pods = len(draft.books.pods)
        what = f"a load slot on {'the pod' if pods == 1 else f'one of {pods} pods'}" if pods else "a pod: none runs"
        draft.refuse(model.name, f"{model.name} waits for {what}")
        return
    roomy = [p for p in takers if p.free_bytes >= size]
    leaving = roomy or [p for p in takers if p.soon_bytes >= size]
    if roomy:
        draft.load(model, roomiest(roomy), reason, why)
    elif leaving:
        _await_memory(draft, model, min(leaving, key=lambda p: (p.loading, -p.soon_bytes, p.pod.name)))
    else:
        _evict_for(draft, model, takers, why, claim)


def _await_memory(draft: Draft, model: Model, pod: PodBooks) -> None:
    size = draft.books.size_bytes(model)
    text = f"waits on {pod.pod.name} for {format_bytes(pod.leaving_bytes)} that are leaving"
    draft.books.reserve(pod, size)
    draft.awaited[model.name] = pod
    draft.refuse(model.name, f"{model.name} ({format_bytes(size)}) {text}")


@dataclass(frozen=True, slots=True)
class Offer:
    """Room for a model on one pod, and what is lost for it."""

    loss: Worth
    pod: PodBooks
    victims: list[Placement]


def best_offer(draft: Draft, model: Model, pods: list[PodBooks], most: Worth = ANYTHING) -> Offer | None:
    """The pod on which evicting for this model loses least, and at most `most`; fewest loads under way among equals."""
    best = None
    for pod in pods:
        found = cheapest_victims(draft.books, pod, model, draft.now_seconds, most)
        if found is None:
            continue
        key = (found[0], pod.loading, pod.pod.name)
        if best is None or key < best[0]:
            best, most = (key, Offer(found[0], pod, found[1])), found[0]
    return None if best is None else best[1]


def _evict_for(draft: Draft, model: Model, takers: list[PodBooks], why: str, claim: Claim | None) -> None:
    offer = best_offer(draft, model, takers)
    if offer is not None and claim is not None:
        excess = _about_to_cost(draft, model, offer) - claim.seconds
        if excess > 0.0:
            text = (
                f"{model.name} waits its turn: what would leave for it is about to cost {excess:.3g} s more of waiting"
            )
            draft.refuse(model.name, text, again_seconds=draft.now_seconds + excess / claim.growth)
            draft.crowded.add(model.name)
            return
    if offer is None:
        need = format_bytes(draft.books.size_bytes(model))
        most = format_bytes(max(0, *(p.soon_bytes for p in takers)))
        text = f"{model.name} needs {need}; at most {most} are free or leaving and what is resident may not go yet"
        draft.refuse(model.name, text)
        draft.crowded.add(model.name)
        return
    evict(draft, model, offer, Reason.MEMORY_PRESSURE, why)


def _about_to_cost(draft: Draft, model: Model, offer: Offer) -> float:
    """Seconds of waiting that victims of equal priority are expected to cost before the model is loaded."""
    appraisal, models = draft.books.snapshot.appraisal, draft.books.snapshot.models
    if appraisal is None:
        return 0.0
    peers = [v.model for v in offer.victims if v.model in models and models[v.model].priority == model.priority]
    alone = [name for name in peers if len(draft.books.all_copies(name)) < 2]
    return sum(appraisal.cost_within(name, load_seconds(model)) for name in alone)


def evict(draft: Draft, model: Model, offer: Offer, reason: Reason, why: str) -> None:
    """Drain the victims and keep their memory for the model that it is for."""
    size, pod = draft.books.size_bytes(model), offer.pod
    need, free = format_bytes(size), format_bytes(max(0, pod.soon_bytes))
    message = f"{why}; {model.name} needs {need}, {free} free or leaving on {pod.pod.name}"
    for victim in offer.victims:
        draft.drain(victim, reason, message, model.name)
    draft.books.reserve(pod, size)
    draft.awaited[model.name] = pod
