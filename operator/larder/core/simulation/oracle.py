"""Policies that know the future: bounds, not rivals.

Belady by cost keeps what costs most per byte and second until its next use (Belady 1966 with the costs and sizes of
a greedy knapsack). With prefetch, idle load slots fetch by the same rank: all models, or only those that were
asked for before.
"""

from larder.core.simulation.caching import Caching, Offer
from larder.core.simulation.world import World

SOON_SECONDS = 1.0
MOST_TRIED = 8


class NextUse:
    """Ranks by load time over size and time to the next use."""

    def scores(self, world: World, models: list[int]) -> list[float]:
        """Zero for what is never used again."""
        return [next_use_density(world, m) for m in models]

    def evicted(self, model: int, score: float) -> None:
        """Nothing to remember."""


def next_use_density(world: World, model: int) -> float:
    """Seconds spared per byte and second by having the model until its next use."""
    uses, arrivals = world.uses(model), world.arrivals[model]
    if uses == len(arrivals):
        return 0.0
    gap: float = max(SOON_SECONDS, arrivals[uses] - world.now)
    return world.load_seconds[model] / world.sizes[model] / gap


class Prefetching(Caching):
    """Belady by cost, which also loads ahead whenever a slot is idle and something worth less can go for it."""

    def __init__(self, seen_only: bool) -> None:
        super().__init__(NextUse())
        self._seen_only = seen_only

    def decide(self, world: World) -> None:
        """Serve what waits, then fetch."""
        super().decide(world)
        pods = [p for p, n in world.loads_running.items() if n < world.hardware.loads_at_once]
        if not pods:
            return
        absent = [m for m in range(len(world.sizes)) if not world.ready[m] and not world.loading[m]]
        wanted = [m for m in absent if m not in world.waiting and (world.uses(m) or not self._seen_only)]
        ranked = sorted(((next_use_density(world, m), m) for m in wanted), reverse=True)
        for density, model in ranked[:MOST_TRIED]:
            if not pods or density <= self._floor(world, pods, world.sizes[model]):
                return
            self._fetch(world, model, density, pods)
            pods = [p for p in pods if world.loads_running[p] < world.hardware.loads_at_once]

    def _floor(self, world: World, pods: list[int], size: int) -> float:
        """No model of lower rank can be fetched: the lowest rank of what is ready where a slot is idle."""
        if any(world.free[p] >= size for p in pods):
            return 0.0
        ready = [next_use_density(world, m) for p in pods for m in world.pods[p] if p in world.ready[m]]
        return min(ready, default=0.0)

    def _fetch(self, world: World, model: int, density: float, pods: list[int]) -> None:
        size = world.sizes[model]
        roomy = [p for p in pods if world.free[p] >= size]
        if roomy:
            world.load(model, min(roomy, key=lambda p: (world.loads_running[p], -world.free[p])), True)
            return
        offers = [o for pod in pods if (o := self.offer(world, pod, size)) is not None]
        worth = density * size
        bearable = [o for o in offers if _loss(world, o) < worth]
        if bearable:
            best = min(bearable, key=lambda o: _loss(world, o))
            self.make_room(world, best)
            world.load(model, best.pod, True)


def _loss(world: World, offer: Offer) -> float:
    return sum(score * world.sizes[m] for score, m in offer.victims)
