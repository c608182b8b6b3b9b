"""What share of requests would meet their objectives: a prediction for the present pool and for any what-if.

Misses by Che's approximation (Che, Tung and Wang 2002; Fricker et al. 2012), with a characteristic time for each
model in proportion to its load time per byte, because that is how Larder keeps: the one constant is found such that
what is resident fills the memory. Time runs in intervals in which a model is active or not, so that a busy minute
counts as one chance to miss. What is fetched in time is taken off the misses. A miss is late with the chance that
its load and the queue for a load slot (exponential, of mean rho / (1 - rho) loads over the slots) outlast the
cold-start objective. At the copies, requests wait as in M/D/c in heavy traffic (Kingman).
"""

from dataclasses import dataclass

import numpy as np

from larder.core.appraisal import Catalog, Floats, Traffic

FETCHED_IN_TIME = 0.4
"""Share of would-be misses of models seen before that fetching ahead prevents when memory and slots allow."""
BUSY = 0.7
"""Share of its copies' time that a model may use, however long its objective lets it queue."""
LEAST_BUSY = 0.02
FILL = 0.95
"""Share of memory that can be used: what remains is too small for any model that is wanted."""

RATE_WINDOW_SECONDS = 10.0
"""The last so many seconds weigh as much in a present rate as all before."""
SURE_DEVIATIONS = 2.0
BURST_FACTOR = 2.0
"""What is asked now counts as a burst from so many times a usual busy interval on."""


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """Per model of the catalog: execution time and objective in seconds; infinite latency where there is none.

    `busiest` is the share of its copies' time from which on another copy is wanted.
    """

    execution_seconds: Floats
    latency_seconds: Floats
    cold_start_seconds: Floats
    busiest: Floats


@dataclass(frozen=True, slots=True)
class Fleet:
    """The pods of a what-if."""

    pods: int
    capacity_bytes: float
    loads_at_once: int


def miss_shares(catalog: Catalog, traffic: Traffic, memory_bytes: float) -> Floats:
    """The chance that an active interval of each model begins without a copy."""
    quiet = np.log1p(-np.clip(traffic.active_share, 1e-6, 1.0 - 1e-6))
    weight = catalog.load_seconds / catalog.bytes_
    weight = weight / weight.mean()
    if float(catalog.bytes_[traffic.active_share > 1e-4].sum()) <= memory_bytes:
        return np.zeros_like(quiet)
    low, high = 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2.0
        resident = float((catalog.bytes_ * -np.expm1(quiet * weight * middle)).sum())
        low, high = (middle, high) if resident < memory_bytes else (low, middle)
    return np.asarray(np.exp(quiet * weight * low))


def predict(catalog: Catalog, traffic: Traffic, needs: Needs, fleet: Fleet) -> float:
    """The predicted attainment, between 0 and 1."""
    requests = traffic.active_share * traffic.burst
    if fleet.pods <= 0 or float(requests.sum()) <= 0.0:
        return 0.0 if fleet.pods <= 0 else 1.0
    lost = predict_lost(catalog, traffic, needs, fleet)
    return float(np.clip(1.0 - lost.sum() / requests.sum(), 0.0, 1.0))


def predict_lost(catalog: Catalog, traffic: Traffic, needs: Needs, fleet: Fleet) -> Floats:
    """Per model, the requests of an average interval that will miss their objective; of at least one pod."""
    requests = traffic.active_share * traffic.burst
    misses = miss_shares(catalog, traffic, fleet.pods * fleet.capacity_bytes * FILL)
    misses = misses * (1.0 - FETCHED_IN_TIME)
    late = _late(catalog, traffic, needs, misses, fleet)
    meanwhile = np.minimum(1.0, catalog.load_seconds / traffic.interval_seconds)
    held = 1.0 + np.maximum(0.0, traffic.burst - 1.0) * meanwhile
    cold = np.minimum(traffic.active_share * misses * held, requests)
    return np.asarray(cold * late + (requests - cold) * _queued_too_long(traffic, needs, fleet))


def with_present_rates(traffic: Traffic, rates_per_second: Floats) -> Traffic:
    """The same where what is asked now, of some models, is far above what is usual in their busy intervals.

    Rates are means over about `RATE_WINDOW_SECONDS`; what chance alone can make of so few requests is taken off.
    """
    sure = rates_per_second - SURE_DEVIATIONS * np.sqrt(rates_per_second / (2.0 * RATE_WINDOW_SECONDS))
    present = sure * traffic.interval_seconds
    bursts = present > BURST_FACTOR * traffic.burst
    return Traffic(
        np.where(bursts, 1.0, traffic.active_share),
        np.where(bursts, present, traffic.burst),
        traffic.interval_seconds,
    )


def _late(catalog: Catalog, traffic: Traffic, needs: Needs, misses: Floats, fleet: Fleet) -> Floats:
    slots = fleet.pods * fleet.loads_at_once
    per_second = traffic.active_share * misses / traffic.interval_seconds
    load = float((per_second * catalog.load_seconds).sum())
    utilisation = min(0.99, load / slots)
    mean_load = load / max(1e-12, float(per_second.sum()))
    queue_seconds = utilisation / (1.0 - utilisation) * mean_load / slots
    slack = needs.cold_start_seconds - catalog.load_seconds
    waits = np.exp(-np.maximum(0.0, slack) / max(1e-9, queue_seconds))
    return np.asarray(np.where(np.isinf(needs.latency_seconds), 0.0, np.where(slack <= 0.0, 1.0, waits)))


def _queued_too_long(traffic: Traffic, needs: Needs, fleet: Fleet) -> Floats:
    """Queueing at as many copies as the planner gives a busy model, as far as there are pods. What is beyond the
    whole time of all pods waits without end.
    """
    demand = traffic.burst * needs.execution_seconds / traffic.interval_seconds
    busy = demand / np.clip(np.ceil(demand / needs.busiest), 1.0, fleet.pods)
    beyond = np.maximum(0.0, 1.0 - 1.0 / np.maximum(busy, 1e-9))
    late = _late_in_queue(np.minimum(busy, 1.0), _slack(needs.execution_seconds, needs.latency_seconds))
    return np.asarray(np.where(np.isinf(needs.latency_seconds), 0.0, np.maximum(late, beyond)))


def _slack(execution_seconds: Floats, latency_seconds: Floats) -> Floats:
    """How many executions a request may wait in the queue."""
    return np.asarray(np.maximum(0.0, latency_seconds / np.maximum(1e-9, execution_seconds) - 1.0))


def _late_in_queue(busy: Floats, slack: Floats) -> Floats:
    return np.asarray(busy * np.exp(-2.0 * (1.0 - busy) * slack / np.maximum(0.05, busy)))


def busiest(execution_seconds: Floats, latency_seconds: Floats, percentile: Floats) -> Floats:
    """The share of their time that copies may be in use such that the percentile still waits short enough."""
    slack, allowed = _slack(execution_seconds, latency_seconds), 1.0 - percentile / 100.0
    low, high = np.full_like(slack, LEAST_BUSY), np.full_like(slack, BUSY)
    for _ in range(12):
        middle = (low + high) / 2.0
        holds = _late_in_queue(middle, slack) <= allowed
        low, high = np.where(holds, middle, low), np.where(holds, high, middle)
    return np.asarray(np.where(np.isinf(latency_seconds) | (high >= BUSY), BUSY, low))
