"""Reactive caching: a waiting model is loaded when memory can be made for it, the lowest ranked leaving first."""

from larder.core.simulation.ranking import Ranking
from larder.core.simulation.world import World


class Caching:
    """Loads what waits, first come, first served, or most waiting requests per load second first.

    On each pod the lowest ranked ready models are gathered until the newcomer fits; the pod whose highest ranked
    victim is lowest is taken. Models that are loading never leave. What does not fit now is passed over.
    """

    def __init__(self, ranking: Ranking, by_demand: bool = False) -> None:
        self._ranking, self._by_demand = ranking, by_demand

    def decide(self, world: World) -> None:
        """Place as many waiting models as slots and memory allow."""
        queue = [m for m in world.waiting if not world.loading[m]]
        if not queue or not _open_pods(world):
            return
        if self._by_demand:
            queue.sort(key=lambda m: -world.waiting_count(m) / world.load_seconds[m])
        for model in queue:
            pods = _open_pods(world)
            if not pods:
                return
            self._place(world, model, pods)

    def _place(self, world: World, model: int, pods: list[int]) -> None:
        size = world.sizes[model]
        roomy = [p for p in pods if world.free[p] >= size]
        if roomy:
            world.load(model, min(roomy, key=lambda p: (world.loads_running[p], -world.free[p])))
            return
        offers = [offer for pod in pods if (offer := self._offer(world, pod, size)) is not None]
        if not offers:
            return
        _, pod, victims = min(offers)
        for score, victim in victims:
            world.evict(victim, pod)
            self._ranking.evicted(victim, score)
        world.load(model, pod)

    def _offer(self, world: World, pod: int, size: int) -> tuple[float, int, list[tuple[float, int]]] | None:
        ready = [m for m in world.pods[pod] if pod in world.ready[m]]
        ranked = sorted(zip(self._ranking.scores(world, ready), ready, strict=True))
        missing, victims = size - world.free[pod], []
        for score, model in ranked:
            if missing <= 0:
                break
            victims.append((score, model))
            missing -= world.sizes[model]
        if missing > 0:
            return None
        for entry in reversed(victims[:-1]):
            if missing + world.sizes[entry[1]] <= 0:
                victims.remove(entry)
                missing += world.sizes[entry[1]]
        return victims[-1][0], pod, victims


def _open_pods(world: World) -> list[int]:
    limit = world.hardware.loads_at_once
    return [p for p, running in world.loads_running.items() if running < limit]
