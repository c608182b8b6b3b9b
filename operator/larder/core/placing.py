"""Where one more copy of a model goes: free memory, memory that is being freed, or the cheapest eviction."""

from dataclasses import dataclass, field

from larder.core.books import Books, PodBooks
from larder.core.eviction import cheapest_victims
from larder.core.plan import Action, Drain, Load, Reason, Unplaced
from larder.core.snapshot import Model, Placement, PodState
from larder.core.units import format_bytes


@dataclass(slots=True)
class Draft:
    """A plan in the making."""

    books: Books
    now_seconds: float
    actions: list[Action] = field(default_factory=list)
    unplaced: list[Unplaced] = field(default_factory=list)

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

    def refuse(self, model: str, message: str, never: bool = False) -> None:
        """Note that a model could not be placed, and why."""
        self.unplaced.append(Unplaced(model, message, never))


def fits_nowhere(draft: Draft, model: Model) -> bool:
    """Note a model larger than every pod can hold when empty; nothing is noted while no pod is known."""
    pods = [p.pod for p in draft.books.pods.values() if p.pod.state in (PodState.SERVING, PodState.STARTING)]
    largest = max((pod.capacity_bytes for pod in pods), default=None)
    size = draft.books.size_bytes(model)
    if largest is None or size <= largest:
        return False
    draft.refuse(
        model.name,
        f"{model.name} needs {format_bytes(size)}; a pod has at most {format_bytes(largest)} for models",
        True,
    )
    return True


def must_pause(draft: Draft, model: Model) -> bool:
    """Note a model whose last load failed and whose next try is not due."""
    if model.retry_at_seconds is None or model.retry_at_seconds <= draft.now_seconds:
        return False
    pause_seconds = model.retry_at_seconds - draft.now_seconds
    draft.refuse(model.name, f"the last load of {model.name} failed; next try in {pause_seconds:.1f} s")
    return True


def place_in_free_memory(draft: Draft, model: Model, reason: Reason, why: str) -> bool:
    """Load one copy where memory and a load slot are free: fewest loads under way, then most free bytes."""
    size = draft.books.size_bytes(model)
    fitting = [p for p in draft.books.pods.values() if p.free_bytes >= size and draft.books.may_start_load(p, model)]
    if not fitting:
        return False
    draft.load(model, min(fitting, key=lambda p: (p.loading, -p.free_bytes, p.pod.name)), reason, why)
    return True


def place(draft: Draft, model: Model, reason: Reason, why: str) -> None:
    """Load one copy, else wait for memory on its way out, else evict for it, else note why not."""
    if fits_nowhere(draft, model) or must_pause(draft, model) or place_in_free_memory(draft, model, reason, why):
        return
    size = draft.books.size_bytes(model)
    open_pods = [p for p in draft.books.pods.values() if p.pod.state is PodState.SERVING]
    takers = [p for p in open_pods if model.name not in p.models]
    if not takers:
        draft.refuse(model.name, f"{model.name} waits: none of {len(draft.books.pods)} pods can take it now")
        return
    leaving = [p for p in takers if p.soon_bytes >= size]
    if leaving:
        _await_memory(draft, model, min(leaving, key=lambda p: (p.loading, -p.soon_bytes, p.pod.name)))
        return
    _evict_for(draft, model, takers, why)


def _await_memory(draft: Draft, model: Model, pod: PodBooks) -> None:
    size = draft.books.size_bytes(model)
    awaited = "a load slot" if pod.free_bytes >= size else f"{format_bytes(pod.leaving_bytes)} that are leaving"
    draft.books.reserve(pod, size)
    draft.refuse(model.name, f"{model.name} ({format_bytes(size)}) waits on {pod.pod.name} for {awaited}")


def _evict_for(draft: Draft, model: Model, takers: list[PodBooks], why: str) -> None:
    size = draft.books.size_bytes(model)
    offers = []
    for pod in takers:
        found = cheapest_victims(draft.books, pod, size, model, draft.now_seconds)
        if found is not None:
            offers.append((found[0], pod.loading, pod.pod.name, found[1]))
    if not offers:
        most, need = format_bytes(max(p.soon_bytes for p in takers)), format_bytes(size)
        text = f"{model.name} needs {need}; at most {most} are free or leaving and what is resident may not go yet"
        draft.refuse(model.name, text)
        return
    _, _, pod_name, victims = min(offers, key=lambda offer: offer[:3])
    pod = draft.books.pods[pod_name]
    need, free = format_bytes(size), format_bytes(max(0, pod.soon_bytes))
    for victim in victims:
        message = f"{why}; {model.name} needs {need}, {free} free or leaving on {pod_name}"
        draft.drain(victim, Reason.MEMORY_PRESSURE, message, model.name)
    draft.books.reserve(pod, size)
