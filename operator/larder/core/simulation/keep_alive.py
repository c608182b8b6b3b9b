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
from larder.core.simulation.world import World

BINS = 240
BIN_SECONDS = 60.0
RANGE_SECONDS = BINS * BIN_SECONDS
HEAD, TAIL, MARGIN = 0.05, 0.99, 0.10
LEAST_VARIATION = 2.0
OUT_OF_BOUNDS = 0.5


class KeepAlive(Caching):
    """Evicts `seconds` after the last use."""

    def __init__(self, seconds: float = 600.0) -> None:
        super().__init__(Lru())
        self._seconds = seconds

    def decide(self, world: World) -> None:
        """Let go what has expired, then serve what waits."""
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
        if soonest < float("inf"):
            world.wake_at(soonest)
        super().decide(world)

    def keep_seconds(self, world: World, model: int) -> float:
        """How long to keep this model after its last use."""
        return self._seconds


class HybridHistogram(KeepAlive):
    """Learns when to fetch and how long to keep from each model's idle times."""

    def __init__(self, models: int) -> None:
        super().__init__(RANGE_SECONDS)
        self._bins = np.zeros((models, BINS))
        self._outside = np.zeros(models)
        self._taken = [0] * models
        self._windows: list[tuple[float, float]] = [(0.0, RANGE_SECONDS)] * models

    def decide(self, world: World) -> None:
        """Learn from what came, fetch what is due, then as keep-alive does."""
        for model in range(len(self._taken)):
            self._learn(world, model)
        super().decide(world)
        for model, (fetch, _) in enumerate(self._windows):
            if fetch > 0.0 and not world.ready[model] and not world.loading[model] and self._taken[model]:
                self._fetch_when_due(world, model, world.arrivals[model][self._taken[model] - 1])

    def keep_seconds(self, world: World, model: int) -> float:
        """Until the keep-alive window ends; with a fetch window, only until shortly after the use."""
        fetch, keep = self._windows[model]
        idle = world.now - (world.arrivals[model][self._taken[model] - 1] if self._taken[model] else 0.0)
        return BIN_SECONDS / 2 if fetch > 0.0 and idle < fetch else keep

    def _fetch_when_due(self, world: World, model: int, last_seconds: float) -> None:
        fetch, keep = self._windows[model]
        due = last_seconds + fetch
        if world.now < due:
            world.wake_at(due)
        elif world.now < last_seconds + keep and model not in world.waiting:
            self.place(world, model, True)

    def _learn(self, world: World, model: int) -> None:
        uses, taken = world.uses(model), self._taken[model]
        if uses == taken:
            return
        arrivals = world.arrivals[model]
        for n in range(max(1, taken), uses):
            gap = arrivals[n] - arrivals[n - 1]
            if gap < RANGE_SECONDS:
                self._bins[model, int(gap / BIN_SECONDS)] += 1.0
            else:
                self._outside[model] += 1.0
        self._taken[model] = uses
        self._windows[model] = windows(self._bins[model], float(self._outside[model]))


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
