"""What is expected of each model at one moment, and what keeping or fetching it is worth: arrays over models.

The value of keeping a model is the index of a stopping problem. Keeping it for a while h costs its bytes for
E[min(gap, h)] seconds and spares one miss with probability P(gap <= h); the best ratio over h is its urgency
(Gittins 1979, for a bandit whose arm pays at the next request). Urgency times the cost of a miss is the waiting
spared per second of residence; over bytes, it ranks. Fetching differs only in that what comes before the load is
done is not spared.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from larder.core.appraisal import Appraisal, Catalog, Floats
from larder.core.snapshot import Model, Objective

MISSED_OBJECTIVE_SECONDS = 10.0
"""A missed objective weighs as much as this much waiting."""


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """Per model, in the order of `names`: urgencies in 1/s, and the rate of further requests once one has come.

    `urgency` is for a resident model, `late_urgency` for one that has to be loaded first.
    """

    at_seconds: float
    urgency: Floats
    late_urgency: Floats
    burst_rate: Floats

    def reordered(self, order: NDArray[np.int64]) -> "Outlook":
        """The same for models in another order."""
        return Outlook(self.at_seconds, self.urgency[order], self.late_urgency[order], self.burst_rate[order])


def lateness(objective: Objective, load_seconds: float) -> float:
    """The chance that a cold start misses its objective.

    The wait for a slot and for memory, which comes on top of the load, is taken as exponential with the mean of
    one load. Without a cold-start objective every cold start is late.
    """
    slack_seconds = (objective.cold_start_seconds or 0.0) - load_seconds
    return 1.0 if slack_seconds <= 0 else float(np.exp(-slack_seconds / load_seconds))


def make_catalog(models: Mapping[str, Model], default_bytes: int, default_load_seconds: float) -> Catalog:
    """Compile the declared models. Unknown sizes and load times take the defaults."""
    names = tuple(sorted(name for name, model in models.items() if not model.deleted))
    known = [models[name] for name in names]
    loads = [m.load_seconds.mean if m.load_seconds else default_load_seconds for m in known]
    loads = [max(seconds, 0.001) for seconds in loads]
    has_objective = [m.objective.latency_seconds is not None for m in known]
    weight = [
        lateness(m.objective, load) if has else 1.0 for m, load, has in zip(known, loads, has_objective, strict=True)
    ]
    return Catalog(
        names,
        {name: n for n, name in enumerate(names)},
        np.array([max(1, default_bytes if m.memory_bytes is None else m.memory_bytes) for m in known], dtype=float),
        np.array(loads),
        np.array(weight),
        np.where(np.array(has_objective, dtype=bool), MISSED_OBJECTIVE_SECONDS, 0.0),
    )


def miss_costs(catalog: Catalog, burst_rates: Floats) -> Floats:
    """What one miss of each model costs, in seconds of waiting.

    A miss makes its first request wait for the load, and those that come meanwhile for half of it on average;
    where there is an objective, each of them also misses it with the chance of `lateness`.
    """
    meanwhile = burst_rates * catalog.load_seconds
    cost = catalog.load_seconds * (1.0 + meanwhile / 2.0) + catalog.miss_seconds * (1.0 + meanwhile)
    return np.asarray(cost * catalog.weight)


def appraise(
    catalog: Catalog, outlook: Outlook, known: NDArray[np.bool_] | None = None, trust: float = 1.0
) -> Appraisal:
    """Put a price on every model: urgency times the cost of one miss. What is not `known` is not worth fetching.

    `trust`: misses that past fetches spared for each one that they promised to.
    """
    cost = miss_costs(catalog, outlook.burst_rate)
    known = np.ones(len(cost), dtype=bool) if known is None else known
    fetch = np.where(known, outlook.late_urgency * cost * trust, 0.0)
    density, smallest = fetch / catalog.bytes_, float(catalog.bytes_.min())
    return Appraisal(catalog, outlook.urgency * cost, fetch, density, smallest, cost, known, outlook.late_urgency)
