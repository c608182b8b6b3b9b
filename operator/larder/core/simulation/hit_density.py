"""LHD (Beckmann, Chen and Cidon, NSDI 2018): rank by expected hits per byte and time, learned from ages.

Ages are counted in seconds, in bins that grow geometrically, where the paper counts accesses and coarsens; objects
are classed by the age at their last hit, as in the paper; densities are multiplied by load time, because a miss
costs that.
"""

from bisect import bisect_right

import numpy as np

from larder.core.simulation.ranking import last_use
from larder.core.simulation.world import World

BIN_ENDS = np.geomspace(1.0, 86400.0, 64)
BIN_WIDTHS = np.diff(np.concatenate(([0.0], BIN_ENDS)))
CLASSES = 16
RECONFIGURE_EVENTS = 512
EWMA_DECAY = 0.9


def _bin(age_seconds: float) -> int:
    return min(len(BIN_ENDS) - 1, int(np.searchsorted(BIN_ENDS, age_seconds)))


class HitDensity:
    """Ranks by hit density, and learns from every hit and eviction."""

    def __init__(self) -> None:
        self._hits = np.zeros((CLASSES, len(BIN_ENDS)))
        self._evictions = np.zeros_like(self._hits)
        # Before anything is learned density falls with age, which is LRU.
        self._density = np.tile(1.0 / BIN_ENDS, (CLASSES, 1))
        self._events = 0
        self._seen: dict[int, tuple[int, int]] = {}
        self._ages: dict[int, float] = {}

    def scores(self, world: World, models: list[int]) -> list[float]:
        """Density at the present age, times load time over size."""
        return [self._score(world, m) for m in models]

    def evicted(self, model: int, score: float) -> None:
        """Count the age at which it left."""
        kind, _ = self._seen.pop(model, (0, 0))
        self._evictions[kind, _bin(self._ages.get(model, 0.0))] += 1.0
        self._count()

    def _score(self, world: World, model: int) -> float:
        uses = world.uses(model)
        kind, seen = self._seen.get(model, (0, -1))
        if seen < 0:
            since = min(world.ready[model].values())
            seen = max(1, bisect_right(world.arrivals[model], since)) if uses else 0
        arrivals = world.arrivals[model]
        for n in range(max(1, seen), uses):
            gap = arrivals[n] - arrivals[n - 1]
            self._hits[kind, _bin(gap)] += 1.0
            kind = min(CLASSES - 1, int(np.log2(1.0 + gap)))
            self._count()
        self._seen[model] = (kind, uses)
        self._ages[model] = age = world.now - last_use(world, model)
        return float(self._density[kind, _bin(age)]) * world.load_seconds[model] / world.sizes[model]

    def _count(self) -> None:
        self._events += 1
        if self._events % RECONFIGURE_EVENTS:
            return
        events = self._hits + self._evictions
        hits_after = np.cumsum(self._hits[:, ::-1], axis=1)[:, ::-1]
        events_after = np.cumsum(events[:, ::-1], axis=1)[:, ::-1]
        lifetime = np.cumsum((events_after * BIN_WIDTHS)[:, ::-1], axis=1)[:, ::-1]
        learned = hits_after / np.maximum(lifetime, 1e-9)
        self._density = np.where(events_after > 0.5, learned, self._density)
        self._hits *= EWMA_DECAY
        self._evictions *= EWMA_DECAY
