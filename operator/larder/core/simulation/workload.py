"""What a simulated pool is asked: models with their costs and, for each, the sorted times of its requests."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MINUTE_SECONDS = 60.0


class Arrivals(StrEnum):
    """How the requests of one minute are laid out in it.

    EVEN: the k-th of n at (k + u)/n of the minute, u drawn anew for each model and minute, so that requests are
    evenly spaced but models do not march in step. PHASE: the same with one u a model for the whole run, so that
    seconds repeat. POISSON: independently and uniformly, which is a Poisson process given the minute's count.
    """

    EVEN = "even"
    POISSON = "poisson"
    PHASE = "phase"


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests for models from time 0 to `duration_seconds`. The sequences run over models, in one order."""

    names: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    load_seconds: tuple[float, ...]
    execution_seconds: tuple[float, ...]
    arrivals: tuple[Floats, ...]
    duration_seconds: float

    @property
    def requests(self) -> int:
        """All requests."""
        return sum(len(times) for times in self.arrivals)

    @property
    def total_bytes(self) -> int:
        """The size of all models together, which a memory fraction refers to."""
        return sum(self.sizes_bytes)

    def merged(self) -> tuple[Floats, NDArray[np.int64]]:
        """The times of all requests in order, and the number of the model that each is for."""
        times = np.concatenate(self.arrivals)
        models = np.repeat(np.arange(len(self.names)), [len(a) for a in self.arrivals])
        order = np.argsort(times, kind="stable")
        return times[order], models[order]


def spread(counts: NDArray[np.int64], kind: Arrivals, rng: np.random.Generator) -> tuple[Floats, ...]:
    """Turn counts (models x minutes) into sorted arrival times in seconds, one array a model."""
    return tuple(_spread_one(row, kind, rng) for row in counts)


def _spread_one(row: NDArray[np.int64], kind: Arrivals, rng: np.random.Generator) -> Floats:
    minutes = np.repeat(np.arange(len(row)), row)
    if kind is Arrivals.POISSON:
        return np.sort((minutes + rng.random(len(minutes))) * MINUTE_SECONDS)
    shifts = np.full(len(row), rng.random()) if kind is Arrivals.PHASE else rng.random(len(row))
    firsts = np.repeat(np.cumsum(row) - row, row)
    within = (np.arange(len(minutes)) - firsts + np.repeat(shifts, row)) / np.repeat(row, row)
    return np.asarray((minutes + within) * MINUTE_SECONDS, dtype=np.float64)
