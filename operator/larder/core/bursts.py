"""What presses for pods at this moment, seconds before any forecast knows: requests that wait too long, copies too
busy. Only models with an objective press.
"""

import math
from dataclasses import dataclass

from larder.core.attainment import BUSY
from larder.core.placing import Draft
from larder.core.snapshot import Model, PodState
from larder.core.units import counted
from larder.core.worth import RATE_AGE_SECONDS, load_seconds


@dataclass(frozen=True, slots=True)
class Need:
    """At least so many pods, and the sentence that says why."""

    pods: int
    why: str


def pressing_need(draft: Draft, present: int, start_seconds: float) -> Need:
    """The most that any of the signals asks for; `present` counts pods that start, which take `start_seconds`."""
    needs = (_busy(draft), _backlog(draft, present, start_seconds), _crowded(draft, present))
    return max(needs, key=lambda need: need.pods)


def _busy(draft: Draft) -> Need:
    """A model has at most one copy a pod: what its requests keep busy needs as many pods."""
    snapshot, most = draft.books.snapshot, Need(0, "")
    for name in sorted(snapshot.rates):
        model, rate = snapshot.models.get(name), snapshot.rates[name]
        if model is None or model.deleted or model.stateful or model.execution_seconds is None:
            continue
        if model.objective.latency_seconds is None or draft.now_seconds - rate.at_seconds > RATE_AGE_SECONDS:
            continue
        busy = rate.per_second * model.execution_seconds.mean
        wanted = math.ceil(busy / BUSY)
        copies = min(wanted, model.max_copies or wanted)
        if copies > most.pods:
            most = Need(copies, f"{name} keeps {busy:.2g} copies busy and needs {copies}, one a pod")
    return most


def _backlog(draft: Draft, present: int, start_seconds: float) -> Need:
    """Loads that wait for a slot for longer than a pod takes to start, and than the objectives allow."""
    cold = _cold(draft)
    if not cold:
        return Need(0, "")
    total = sum(load_seconds(model) for model, _ in cold)
    slots = draft.books.snapshot.settings.loads_at_once
    backlog, slack = total / (slots * max(1, present)), min(_slack(model) for model, _ in cold)
    if backlog <= max(start_seconds, slack):
        return Need(0, "")
    pods = math.ceil(total / (slots * max(start_seconds, slack)))
    return Need(pods, f"{counted(len(cold), 'model')} waiting, loads of {backlog:.3g} s on {counted(present, 'pod')}")


def _crowded(draft: Draft, present: int) -> Need:
    """Models that are waited for too long already because nothing that is resident may go for them."""
    late = [m.name for m, since in _cold(draft) if m.name in draft.crowded and draft.now_seconds - since > _slack(m)]
    states = [p.pod.state for p in draft.books.pods.values()]
    retiring = states.count(PodState.RETIRING)
    if not late or states.count(PodState.SERVING) + retiring < present:
        return Need(0, "")
    pods = present if retiring else present + 1
    return Need(pods, f"{late[0]} waits too long: no memory can be had for it and {len(late) - 1} more")


def _cold(draft: Draft) -> list[tuple[Model, float]]:
    """Models with an objective that are waited for and come nowhere yet, and since when."""
    books, found = draft.books, []
    for name, held in sorted(books.snapshot.waiting.items()):
        model = books.snapshot.models.get(name)
        if model is None or model.deleted or held.count <= 0 or model.objective.latency_seconds is None:
            continue
        if not books.answering_copies(name) and _may_be_tried(draft, model):
            found.append((model, held.oldest_seconds))
    return found


def _may_be_tried(draft: Draft, model: Model) -> bool:
    return model.retry_at_seconds is None or model.retry_at_seconds <= draft.now_seconds


def _slack(model: Model) -> float:
    return (model.objective.cold_start_seconds or 0.0) + (model.objective.latency_seconds or 0.0)
