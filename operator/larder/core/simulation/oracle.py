"""Policies that know the future: bounds, not rivals.

Belady by cost keeps what costs most per byte and second until its next use (Belady 1966 with the costs and sizes of
a greedy knapsack). With prefetch, idle load slots fetch what is used next, in place of what ranks lower: all models,
or only those that were asked for before. Fetching by rank instead leaves the most urgent to come too late.
"""

from larder.core.simulation.caching import Caching, Offer
from larder.core.simulation.world import World

SOON_SECONDS = 1.0
MOST_TRIED = 8
LOOK_EVERY_SECONDS = 5.0
"""What is resident becomes less worth with each use, of which the world makes no event."""


class NextUse:
    """Ranks by load time over size and time to the next use."""

    def scores(self, world: World, models: list[int]) -> list[float]:
        """Zero for what is never used again."""
        return [next_use_density(world, m) for m in models]

    def evicted(self, model: int, score: float) -> None:
        """Nothing to remember."""


def next_use_density(world: World, model: int) -> float:
    """Seconds spared per byte and second by having the model until its next use."""
    use = next_use(world, model)
    if use is None:
        return 0.0
    return world.load_seconds[model] / world.sizes[model] / max(SOON_SECONDS, use - world.now)


def next_use(world: World, model: int) -> float | None:
    """The time of the next request; None: there is none any more."""
    uses, arrivals = world.uses(model), world.arrivals[model]
    return None if uses == len(arrivals) else arrivals[uses]


class Prefetching(Caching):
    """Belady by cost, which also loads ahead whenever a slot is idle and something worth less can go for it."""

    def __init__(self, seen_only: bool) -> None:
        super().__init__(NextUse())
        self._seen_only = seen_only
        self._look_at = 0.0

    def decide(self, world: World) -> None:
        """Serve what waits, then fetch."""
        if world.now >= self._look_at:
            self._look_at = world.now + LOOK_EVERY_SECONDS
            world.wake_at(self._look_at)
        super().decide(world)
        pods = [p for p, n in world.loads_running.items() if n < world.hardware.loads_at_once]
        if not pods:
            return
        absent = [m for m in range(len(world.sizes)) if not world.ready[m] and not world.loading[m]]
        wanted = [m for m in absent if m not in world.waiting and (world.uses(m) or not self._seen_only)]
        next_uses = sorted((use, m) for m in wanted if (use := next_use(world, m)) is not None)
        for _, model in next_uses[:MOST_TRIED]:
            if not pods:
                return
            self._fetch(world, model, next_use_density(world, model), pods)
            pods = [p for p in pods if world.loads_running[p] < world.hardware.loads_at_once]

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
