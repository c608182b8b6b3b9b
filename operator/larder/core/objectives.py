"""What the declared objectives ask of a whole pool, and whether the most pods allowed can give it.

The pool's target is the mean of its models' percentiles, each weighted by how much it is asked; what has no objective
misses none and weighs in with 1. So a prediction of all requests is held against all requests, and a model that is
asked once a day does not make a pool hold everything at all times.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from larder.core.appraisal import Catalog, Floats, Traffic
from larder.core.attainment import Fleet, Needs, predict, predict_lost
from larder.core.snapshot import Objective, PodState, Snapshot

MOST_TIMES = 16
"""No answer is looked for beyond so many times the present maximum."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is predicted with the present pods and with the most allowed, and what is to hold.

    `model` falls shortest with the most pods; `pods_needed` None: `MOST_TIMES` as many pods do not help either.
    """

    target: float
    present: float
    highest: float
    model: str = ""
    pods_needed: int | None = None

    @property
    def is_feasible(self) -> bool:
        """Whether the most pods allowed meet the objectives."""
        return self.highest >= self.target


def target_attainment(objectives: list[Objective], traffic: Traffic) -> float | None:
    """The share of requests that has to attain, of the models in the order of the traffic; None: none has one."""
    if all(objective.latency_seconds is None for objective in objectives):
        return None
    asked = traffic.active_share * traffic.burst
    shares = _shares(objectives)
    total = float(asked.sum())
    return float((asked * shares).sum() / total) if total > 0.0 else float(shares.min())


def _shares(objectives: list[Objective]) -> Floats:
    return np.array([1.0 if o.latency_seconds is None else o.percentile / 100.0 for o in objectives])


def judge(snapshot: Snapshot, needs: Needs) -> Verdict | None:
    """Whether the objectives can be met; None: nothing is to hold, or too little is known to say."""
    settings, appraisal, traffic = snapshot.settings, snapshot.appraisal, snapshot.traffic
    if settings.target_attainment is None or appraisal is None or traffic is None or not snapshot.pods:
        return None
    catalog, target = appraisal.catalog, settings.target_attainment
    capacity = max(p.capacity_bytes for p in snapshot.pods.values())

    def fleet(pods: int) -> Fleet:
        return Fleet(pods, capacity, settings.loads_at_once)

    def predicted(pods: int) -> float:
        return predict(catalog, traffic, needs, fleet(pods))

    most = settings.max_pods if settings.fixed_pods is None else settings.fixed_pods
    present = sum(p.state is not PodState.TERMINATING for p in snapshot.pods.values())
    found = Verdict(target, predicted(present), predicted(most))
    if found.is_feasible:
        return found
    lost = predict_lost(catalog, traffic, needs, fleet(max(1, most)))
    model = _shortest(snapshot, catalog, traffic, lost)
    return replace(found, model=model, pods_needed=_fewest(predicted, target, most))


def _fewest(predicted: Callable[[int], float], target: float, most: int) -> int | None:
    """The fewest pods beyond `most` that hold, by bisection: more pods never predict less."""
    low, high = most + 1, MOST_TIMES * max(1, most)
    if predicted(high) < target:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if predicted(middle) >= target else (middle + 1, high)
    return low


def _shortest(snapshot: Snapshot, catalog: Catalog, traffic: Traffic, lost: Floats) -> str:
    """The model with the most requests lost beyond what its percentile allows."""
    objectives = [snapshot.models[name].objective for name in catalog.names]
    allowed = traffic.active_share * traffic.burst * (1.0 - _shares(objectives))
    return catalog.names[int(np.argmax(lost - allowed))]
