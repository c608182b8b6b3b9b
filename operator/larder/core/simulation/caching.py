"""Reactive caching: a waiting model is loaded when memory can be made for it, the lowest ranked leaving first."""

from dataclasses import dataclass

from larder.core.simulation.ranking import Ranking
from larder.core.simulation.world import World


@dataclass(frozen=True, slots=True)
class Offer:
    """Room on one pod: the victims as (score, model), and the highest of their scores."""

    pod: int
    victims: list[tuple[float, int]]
    highest: float


class Caching:
    """Loads what waits, first come, first served, or in Larder's order.

    On each pod the lowest ranked ready models are gathered until the newcomer fits; the pod whose highest ranked
    victim is lowest is taken. Models that are loading never leave. What does not fit now is passed over.
    """

    def __init__(self, ranking: Ranking, larder_order: bool = False) -> None:
        self._ranking, self._larder_order = ranking, larder_order

    def decide(self, world: World) -> None:
        """Place as many waiting models as slots and memory allow."""
        queue = [m for m in world.waiting if not world.loading[m]]
        if not queue or not _open_pods(world):
            return
        if self._larder_order:
            queue.sort(key=lambda m: -_waited_per_effort(world, m))
        for model in queue:
            if not _open_pods(world):
                return
            self.place(world, model)

    def place(self, world: World, model: int, prefetch: bool = False) -> None:
        """Load the model where it fits, else where the lowest ranked have to leave; nothing if nowhere."""
        size, pods = world.sizes[model], _open_pods(world)
        roomy = [p for p in pods if world.free[p] >= size]
        if roomy:
            world.load(model, min(roomy, key=lambda p: (world.loads_running[p], -world.free[p])), prefetch)
            return
        offers = [offer for pod in pods if (offer := self.offer(world, pod, size)) is not None]
        if offers:
            best = min(offers, key=lambda o: (o.highest, o.pod))
            self.make_room(world, best)
            world.load(model, best.pod, prefetch)

    def make_room(self, world: World, offer: Offer) -> None:
        """Evict the victims."""
        for score, victim in offer.victims:
            world.evict(victim, offer.pod)
            self._ranking.evicted(victim, score)

    def offer(self, world: World, pod: int, size: int) -> Offer | None:
        """What would have to leave this pod; None: that is not enough."""
        ready = [m for m in world.pods[pod] if pod in world.ready[m]]
        ranked = sorted(zip(self._ranking.scores(world, ready), ready, strict=True))
        missing, victims = size - world.free[pod], []
        for score, model in ranked:
            if missing <= 0:
                break
            victims.append((score, model))
            missing -= world.sizes[model]
        if missing > 0 or not victims:
            return None
        for entry in reversed(victims[:-1]):
            if missing + world.sizes[entry[1]] <= 0:
                victims.remove(entry)
                missing += world.sizes[entry[1]]
        return Offer(pod, victims, victims[-1][0])


def _open_pods(world: World) -> list[int]:
    limit = world.hardware.loads_at_once
    return [p for p, running in world.loads_running.items() if running < limit]


def _waited_per_effort(world: World, model: int) -> float:
    count, seconds = world.waiting_count(model), world.load_seconds[model]
    waited = (world.now - world.waiting[model]) * (count + 1) / 2.0
    return waited / (seconds * world.sizes[model])
