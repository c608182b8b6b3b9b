"""Loading ahead: what will probably be asked for is loaded while load slots are idle."""

import numpy as np

from larder.core.appraisal import Appraisal
from larder.core.books import PodBooks
from larder.core.eviction import shelf
from larder.core.placing import Draft, best_offer, evict, fits_nowhere, must_pause, place_in_free_memory, roomiest
from larder.core.plan import Reason
from larder.core.snapshot import Model
from larder.core.worth import RATE_AGE_SECONDS

FETCH_MARGIN = 2.0
"""A model is fetched in place of others only if it is worth so many times what they are."""
LEAST_FETCH_VALUE = 1e-5
"""Seconds of waiting spared per second, below which nothing is fetched even into free memory."""
SPARE_SLOTS = 1
"""Load slots of each pod that fetching leaves to cold requests (of a single slot, none can be left)."""
MOST_TRIED = 12


def is_refused(draft: Draft, model: Model) -> bool:
    """Whether the model can't be loaded now for a reason of its own; noted."""
    return model.name in draft.refused or fits_nowhere(draft, model) or must_pause(draft, model)


def fetch_ahead(draft: Draft) -> None:
    """Load what is expected; without a forecast, what is asked for, into free memory only."""
    if draft.books.snapshot.appraisal is None:
        _fill_free_memory(draft)
        return
    pods = _idle_pods(draft)
    if not pods:
        return
    appraisal, tried = draft.books.snapshot.appraisal, 0
    for at in _expected(draft, appraisal, pods):
        name = appraisal.catalog.names[at]
        if draft.books.copies.get(name):
            continue
        model = draft.books.snapshot.models.get(name)
        if model is None or model.deleted or name in draft.books.snapshot.waiting:
            continue
        if is_refused(draft, model):
            continue
        if _fetch(draft, model, float(appraisal.fetch[at]), pods):
            pods = _idle_pods(draft)
        tried += 1
        if tried == MOST_TRIED or not pods:
            return


def _idle_pods(draft: Draft) -> list[PodBooks]:
    spare = min(SPARE_SLOTS, draft.books.snapshot.settings.loads_at_once - 1)
    return [p for p in draft.books.pods.values() if draft.books.has_slot(p, spare=spare)]


def _expected(draft: Draft, appraisal: Appraisal, pods: list[PodBooks]) -> list[int]:
    """Models whose value per byte beats the least of what is resident where slots are idle, best first."""
    shelves = [shelf(draft.books, p, draft.now_seconds) for p in pods]
    full = all(p.soon_bytes < appraisal.smallest_bytes for p in pods)
    floor = min((k.density for s in shelves for k in s[:1]), default=0.0) if full else 0.0
    density = appraisal.fetch_density
    worthy = np.nonzero((density > FETCH_MARGIN * floor) & (appraisal.fetch >= LEAST_FETCH_VALUE))[0]
    order: list[int] = worthy[np.argsort(-density[worthy], kind="stable")].tolist()
    return order


def _fetch(draft: Draft, model: Model, value: float, idle: list[PodBooks]) -> bool:
    """Load the model, or make room for it, on one of these pods; whether that was worth it."""
    pods = [p for p in idle if draft.books.may_start_load(p, model)]
    size = draft.books.size_bytes(model)
    roomy = [p for p in pods if p.free_bytes >= size]
    offer = None if roomy else best_offer(draft, model, pods, (model.priority, value / FETCH_MARGIN))
    why = f"expected: fetching {model.name} spares {value:.3g} s of waiting a second"
    if roomy:
        draft.load(model, roomiest(roomy), Reason.FORECAST, why)
    elif offer is not None:
        evict(draft, model, offer, Reason.FORECAST, f"{why}, what leaves {offer.loss[1]:.3g} s")
    return bool(roomy) or offer is not None


def _fill_free_memory(draft: Draft) -> None:
    """A model that is asked for and resident nowhere is loaded where nothing has to leave for it."""
    snapshot = draft.books.snapshot
    wanted = []
    for name, rate in snapshot.rates.items():
        model = snapshot.models.get(name)
        if model is None or model.deleted or draft.books.copies.get(name):
            continue
        if rate.per_second > 0 and draft.now_seconds - rate.at_seconds <= RATE_AGE_SECONDS:
            wanted.append((-model.priority, -rate.per_second, name, model))
    for _, negative_rate, _, model in sorted(wanted, key=lambda entry: entry[:3]):
        if not is_refused(draft, model):
            place_in_free_memory(draft, model, Reason.DEMAND, f"asked for {-negative_rate:.3g} times a second")
