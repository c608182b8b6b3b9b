"""More copies of busy models: a copy is worth the queueing that it spares."""

from functools import lru_cache

import numpy as np

from larder.core.attainment import BUSY, LEAST_BUSY, busiest
from larder.core.fetching import FETCH_MARGIN, is_refused
from larder.core.placing import Draft, best_offer, evict, roomiest
from larder.core.plan import Reason
from larder.core.snapshot import Model, PlacementState
from larder.core.worth import RATE_AGE_SECONDS, copy_worth


def add_copies(draft: Draft) -> None:
    """One more copy of each model that keeps its copies too busy, where memory is free or what leaves is worth less."""
    for name in sorted(draft.books.snapshot.rates):
        model = draft.books.snapshot.models.get(name)
        if model is None or model.deleted or model.stateful or not _is_busy(draft, model):
            continue
        if not is_refused(draft, model):
            _add_copy(draft, model)


def _is_busy(draft: Draft, model: Model) -> bool:
    copies, rate = draft.books.serving_copies(model.name), draft.books.snapshot.rates[model.name]
    if not copies or model.execution_seconds is None or any(c.state is not PlacementState.READY for c in copies):
        return False
    if model.max_copies is not None and len(copies) >= model.max_copies:
        return False
    fresh = draft.now_seconds - rate.at_seconds <= RATE_AGE_SECONDS
    busy = rate.per_second * model.execution_seconds.mean / len(copies)
    return fresh and (busy > BUSY or (busy > LEAST_BUSY and busy > _busiest(model)))


def _busiest(model: Model) -> float:
    """How busy its copies may be before the objective's percentile falls short."""
    objective, execution = model.objective, model.execution_seconds
    if objective.latency_seconds is None or execution is None:
        return BUSY
    return _busiest_for(float(f"{execution.mean:.2g}"), objective.latency_seconds, objective.percentile)


@lru_cache(maxsize=65536)
def _busiest_for(execution_seconds: float, latency_seconds: float, percentile: float) -> float:
    """Asked for every busy model in every plan, and nearly always the same."""
    one = [np.array([value]) for value in (execution_seconds, latency_seconds, percentile)]
    return float(busiest(*one)[0])


def _add_copy(draft: Draft, model: Model) -> None:
    books = draft.books
    copies = len(books.serving_copies(model.name))
    value = copy_worth(books.snapshot, model, copies + 1, draft.now_seconds)
    size = books.size_bytes(model)
    pods = [p for p in books.pods.values() if books.may_start_load(p, model)]
    roomy = [p for p in pods if p.free_bytes >= size]
    why = f"{copies} copies are too busy: one more spares {value:.3g} s of queueing a second"
    if roomy:
        draft.load(model, roomiest(roomy), Reason.DEMAND, why)
        return
    offer = best_offer(draft, model, pods, (model.priority, value / FETCH_MARGIN))
    if offer is not None:
        evict(draft, model, offer, Reason.DEMAND, why)
