"""Serverless keep-alive: a model stays for a while after each use, and may be fetched before the next.

Fixed: ten minutes, as providers do. Hybrid histogram (Shahrad et al., USENIX ATC 2020): idle times per function in
one-minute bins up to four hours; the 5th percentile less 10% is when to fetch, the 99th plus 10% how long to keep;
a histogram that is not representative (coefficient of variation of its bin counts under 2) or has too many idle
times out of bounds keeps for four hours. The paper's ARIMA branch for the latter is left out. Neither says what
to do when memory is short: the least recently used model leaves.
"""

import numpy as np
from numpy.typing import NDArray

from larder.core.simulation.caching import Caching
from larder.core.simulation.ranking import Lru, last_use
from larder.core.simulation.workload import Workload
from larder.core.simulation.world import World

BINS = 240
BIN_SECONDS = 60.0
RANGE_SECONDS = BINS * BIN_SECONDS
HEAD, TAIL, MARGIN = 0.05, 0.99, 0.10
LEAST_VARIATION = 2.0
OUT_OF_BOUNDS = 0.5


class KeepAlive(Caching):
    """Evicts `seconds` after the last use. `shortest_seconds`: nothing is ever kept for less."""

    def __init__(self, seconds: float = 600.0, shortest_seconds: float | None = None) -> None:
        super().__init__(Lru())
        self._seconds = seconds
        self._shortest_seconds = seconds if shortest_seconds is None else shortest_seconds
        self._look_at = 0.0

    def decide(self, world: World) -> None:
        """Let go what has expired, then serve what waits."""
        if world.now >= self._look_at:
            self._look_at = min(self._expire(world), world.now + self._shortest_seconds)
        world.wake_at(self._look_at)
        super().decide(world)

    def keep_seconds(self, world: World, model: int) -> float:
        """How long to keep this model after its last use."""
        return self._seconds

    def _expire(self, world: World) -> float:
        """Evict what has expired; when the next of what is ready will."""
        soonest = float("inf")
        for model, pods in enumerate(world.ready):
            if not pods:
                continue
            expires = last_use(world, model) + self.keep_seconds(world, model)
            if expires <= world.now:
                for pod in list(pods):
                    world.evict(model, pod)
            else:
                soonest = min(soonest, expires)
        return soonest


class HybridHistogram(KeepAlive):
    """Learns when to fetch and how long to keep from each model's idle times."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(RANGE_SECONDS, BIN_SECONDS / 2)
        models = len(workload.names)
        self._times, self._asked = workload.merged()
        self._bins = np.zeros((models, BINS))
        self._outside = np.zeros(models)
        self._taken, self._taken_of = 0, [0] * models
        self._windows: list[tuple[float, float]] = [(0.0, RANGE_SECONDS)] * models
        self._due, self._until = np.full(models, np.inf), np.full(models, np.inf)

    def decide(self, world: World) -> None:
        """Learn from what came, fetch what is due, then as keep-alive does."""
        taken = self._taken
        self._taken = int(np.searchsorted(self._times, world.now, side="right"))
        for model in np.unique(self._asked[taken : self._taken]).tolist():
            self._learn(world, model)
        super().decide(world)
        for model in np.nonzero((self._due <= world.now) & (world.now < self._until))[0].tolist():
            if not world.ready[model] and not world.loading[model] and model not in world.waiting:
                self.place(world, model, True)
        world.wake_at(float(np.min(self._due, where=self._due > world.now, initial=np.inf)))

    def keep_seconds(self, world: World, model: int) -> float:
        """Until the keep-alive window ends; with a fetch window, only until shortly after the use."""
        fetch, keep = self._windows[model]
        taken = self._taken_of[model]
        idle = world.now - (world.arrivals[model][taken - 1] if taken else 0.0)
        return BIN_SECONDS / 2 if fetch > 0.0 and idle < fetch else keep

    def _learn(self, world: World, model: int) -> None:
        uses, taken, arrivals = world.uses(model), self._taken_of[model], world.arrivals[model]
        for n in range(max(1, taken), uses):
            gap = arrivals[n] - arrivals[n - 1]
            if gap < RANGE_SECONDS:
                self._bins[model, int(gap / BIN_SECONDS)] += 1.0
            else:
                self._outside[model] += 1.0
        self._taken_of[model] = uses
        fetch, keep = self._windows[model] = windows(self._bins[model], float(self._outside[model]))
        self._due[model] = arrivals[uses - 1] + fetch if fetch > 0.0 else np.inf
        self._until[model] = arrivals[uses - 1] + keep


def windows(bins: NDArray[np.float64], outside: float) -> tuple[float, float]:
    """When to fetch and how long to keep after a use, in seconds, from a histogram of idle times."""
    inside = float(bins.sum())
    if inside == 0.0 or outside > OUT_OF_BOUNDS * (inside + outside):
        return 0.0, RANGE_SECONDS
    if float(bins.std()) / float(bins.mean()) < LEAST_VARIATION:
        return 0.0, RANGE_SECONDS
    share = np.cumsum(bins) / inside
    head = float(np.searchsorted(share, HEAD)) * BIN_SECONDS
    tail = float(np.searchsorted(share, TAIL) + 1) * BIN_SECONDS
    return head * (1.0 - MARGIN), tail * (1.0 + MARGIN)
