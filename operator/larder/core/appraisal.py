"""What a forecast says of every model at one moment, as the snapshot holds it: arrays over the models of a catalog."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """What does not change from moment to moment, as arrays in the order of `names`."""

    names: tuple[str, ...]
    index: Mapping[str, int]
    bytes_: Floats
    load_seconds: Floats
    weight: Floats
    miss_seconds: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Appraisal:
    """Seconds of waiting spared per second by keeping, or by fetching, each model of the catalog.

    `known` False: the forecast has not watched for long enough to say anything of this model.
    """

    catalog: Catalog
    keep: Floats
    fetch: Floats
    fetch_density: Floats
    smallest_bytes: float
    miss_cost: Floats
    known: NDArray[np.bool_]
    late_urgency: Floats

    def promised(self, name: str) -> float:
        """Misses a second that fetching this model promises to spare, before any doubt."""
        at = self.catalog.index.get(name)
        return 0.0 if at is None else float(self.late_urgency[at])

    def urgency(self, name: str) -> float:
        """Misses a second that keeping this model spares; 0 where a miss costs nothing."""
        at = self.catalog.index.get(name)
        return 0.0 if at is None or self.miss_cost[at] <= 0.0 else float(self.keep[at] / self.miss_cost[at])

    def cost_within(self, name: str, seconds: float) -> float:
        """What a miss of this model is expected to cost within so many seconds, if it leaves now."""
        at = self.catalog.index.get(name)
        if at is None or not self.known[at]:
            return 0.0
        return min(1.0, self.urgency(name) * seconds) * float(self.miss_cost[at])

    def keep_value(self, name: str) -> float | None:
        """What keeping this model spares; None: nobody can say yet."""
        at = self.catalog.index.get(name)
        return None if at is None or not self.known[at] else float(self.keep[at])

    def cost_of_miss(self, name: str) -> float | None:
        """What one miss of this model costs, in seconds of waiting; None: it is not in the catalog."""
        at = self.catalog.index.get(name)
        return None if at is None else float(self.miss_cost[at])


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Per model of the catalog: share of intervals with a request, requests in such an interval; and its length."""

    active_share: Floats
    burst: Floats
    interval_seconds: float = 60.0
