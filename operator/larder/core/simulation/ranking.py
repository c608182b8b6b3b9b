"""The classical online replacement policies: each ranks resident models, the lowest leaves first.

Every ranking follows its publication; `docs/` lists sources and deviations. They share one frame (`Caching`),
which serves waiting models first come, first served.
"""

from bisect import bisect_right
from typing import Protocol

import numpy as np

from larder.core.simulation.world import World


class Ranking(Protocol):
    """Scores of resident models. Higher stays longer."""

    def scores(self, world: World, models: list[int]) -> list[float]:
        """One score for each of these resident models, with every use until now taken in."""

    def evicted(self, model: int, score: float) -> None:
        """This model left with this score."""


class Lru:
    """Least recently used."""

    def scores(self, world: World, models: list[int]) -> list[float]:
        """The time of the last use; before the first one, that of the load."""
        return [last_use(world, m) for m in models]

    def evicted(self, model: int, score: float) -> None:
        """Nothing to remember."""


class Random:
    """A random victim."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def scores(self, world: World, models: list[int]) -> list[float]:
        """Uniform."""
        return [float(x) for x in self._rng.random(len(models))]

    def evicted(self, model: int, score: float) -> None:
        """Nothing to remember."""


class Lfu:
    """Least frequently used, over the whole run; or with counts that halve every `half_life_seconds`."""

    def __init__(self, half_life_seconds: float | None = None, per_byte_cost: bool = False) -> None:
        self._half_life, self._weighted = half_life_seconds, per_byte_cost
        self._counts: dict[int, tuple[int, float, float]] = {}

    def scores(self, world: World, models: list[int]) -> list[float]:
        """The count; CremeBrulee's utility is the count times load time over size."""
        counts = [self._count(world, m) for m in models]
        if not self._weighted:
            return counts
        return [c * world.load_seconds[m] / world.sizes[m] for c, m in zip(counts, models, strict=True)]

    def evicted(self, model: int, score: float) -> None:
        """Counts outlive residence."""

    def _count(self, world: World, model: int) -> float:
        seen = world.uses(model)
        if self._half_life is None:
            return float(seen)
        taken, count, at = self._counts.get(model, (0, 0.0, 0.0))
        for arrival in world.arrivals[model][taken:seen]:
            count = count * 0.5 ** ((arrival - at) / self._half_life) + 1.0
            at = arrival
        self._counts[model] = (seen, count, at)
        return float(count * 0.5 ** ((world.now - at) / self._half_life))


class GreedyDual:
    """GDSF: L + uses * cost / size, L being the score of what was last evicted.

    `lifetime_counts` False restarts the count with each residence (FaasCache: the count is reset when the last
    container of a function is terminated); True keeps it (GDSF with perfect frequencies).
    """

    def __init__(self, lifetime_counts: bool) -> None:
        self._lifetime = lifetime_counts
        self._clock = 0.0
        self._seen: dict[int, tuple[int, int, float]] = {}

    def scores(self, world: World, models: list[int]) -> list[float]:
        """Scores; a use since the last look takes the present clock, which has not moved in between."""
        return [self._score(world, m) for m in models]

    def evicted(self, model: int, score: float) -> None:
        """The clock moves to the score of the victim."""
        self._clock = max(self._clock, score)
        if not self._lifetime:
            self._seen.pop(model, None)

    def _score(self, world: World, model: int) -> float:
        uses = world.uses(model)
        base, seen, clock = self._seen.get(model, (-1, -1, 0.0))
        if base < 0:
            base = 0 if self._lifetime else max(0, uses - max(1, _since_load(world, model)))
        if uses != seen:
            clock = self._clock
        self._seen[model] = (base, uses, clock)
        return clock + max(1, uses - base) * world.load_seconds[model] / world.sizes[model]


def last_use(world: World, model: int) -> float:
    """The time of the last request, or of the load if that is later and nothing was asked since."""
    uses = world.uses(model)
    last = world.arrivals[model][uses - 1] if uses else 0.0
    return max(last, min(world.ready[model].values(), default=0.0))


def _since_load(world: World, model: int) -> int:
    ready = min(world.ready[model].values(), default=world.now)
    batches = world.ledger.batches[model]
    held = batches[-1].last - batches[-1].first if batches and batches[-1].ready_seconds == ready else 0
    return held + world.uses(model) - bisect_right(world.arrivals[model], ready)
