"""Fleets of pods as others run them: ModelMesh with an HPA, KEDA with one deployment a model.

ModelMesh-like, after its documentation and sources: LRU; a model younger than the churn guard is not evicted; a
second copy when a model is used again after a while, into free memory; more copies above 2,000 requests a minute
per copy; pods by a HorizontalPodAutoscaler on memory (desired = pods x used share / target, tolerance 10 %, down at
most every five minutes).

KEDA-like: a deployment of its own for each model, scaled to zero after a cool-down; a request that finds none waits
for the start of a pod and the load. Its pods are counted by memory, in pods of the pool's size: generous to it, for
nothing is lost to packing or to an empty server's own memory.
"""

import math
from dataclasses import dataclass

from larder.core.simulation.caching import Caching
from larder.core.simulation.ranking import Lru, last_use
from larder.core.simulation.workload import Workload
from larder.core.simulation.world import World
from larder.core.snapshot import Objective

HPA_EVERY_SECONDS = 60.0
HPA_TOLERANCE = 0.1
HPA_DOWN_SECONDS = 300.0
REUSE_SECONDS = (420.0, 2400.0)
COPY_REQUESTS_PER_MINUTE = 2000.0


@dataclass(frozen=True, slots=True)
class MeshParameters:
    """What is swept."""

    most_pods: int
    memory_target: float = 0.8
    churn_guard_seconds: float = 0.0


class _Guarded(Lru):
    """LRU that ranks what is younger than the guard above everything."""

    def __init__(self, guard_seconds: float) -> None:
        self._guard_seconds = guard_seconds

    def scores(self, world: World, models: list[int]) -> list[float]:
        """The last use; a day more for what was loaded only now."""
        young = [world.now - min(world.ready[m].values()) < self._guard_seconds for m in models]
        return [last_use(world, m) + 86400.0 * y for m, y in zip(models, young, strict=True)]


class ModelMeshLike(Caching):
    """Plays the fleet."""

    def __init__(self, parameters: MeshParameters) -> None:
        super().__init__(_Guarded(parameters.churn_guard_seconds))
        self._parameters = parameters
        self._look_at = 0.0
        self._changed_at = 0.0
        self._used: dict[int, float] = {}

    def decide(self, world: World) -> None:
        """Serve what waits; once a minute add copies and set the number of pods."""
        super().decide(world)
        if world.now < self._look_at:
            return
        self._look_at = world.now + HPA_EVERY_SECONDS
        world.wake_at(self._look_at)
        for model, pods in enumerate(world.ready):
            if pods:
                self._copy_on_reuse(world, model)
        self._autoscale(world)

    def _copy_on_reuse(self, world: World, model: int) -> None:
        used, before = last_use(world, model), self._used.get(model)
        self._used[model] = used
        recent = world.uses(model) - sum(
            t <= world.now - 60.0 for t in world.arrivals[model][: world.uses(model)][-2100:]
        )
        busy = recent > COPY_REQUESTS_PER_MINUTE * len(world.ready[model])
        reused = before is not None and REUSE_SECONDS[0] <= used - before <= REUSE_SECONDS[1]
        if not busy and not (reused and len(world.ready[model]) == 1):
            return
        for pod, free in world.free.items():
            idle = world.loads_running[pod] < world.hardware.loads_at_once
            if idle and free >= world.sizes[model] and pod not in world.ready[model] | world.loading[model]:
                world.load(model, pod)
                return

    def _autoscale(self, world: World) -> None:
        asked = len(world.pods) + len(world.starting)
        used = 1.0 - sum(world.free.values()) / (world.hardware.capacity_bytes * max(1, len(world.pods)))
        ratio = used / self._parameters.memory_target
        desired = asked if abs(ratio - 1.0) <= HPA_TOLERANCE else math.ceil(len(world.pods) * ratio)
        desired = min(max(desired, 1), self._parameters.most_pods)
        if desired > asked:
            self._changed_at = world.now
            for _ in range(desired - asked):
                world.add_pod(world.hardware.start_seconds)
        elif desired < asked and len(world.pods) > 1 and world.now - self._changed_at >= HPA_DOWN_SECONDS:
            self._changed_at = world.now
            world.remove_pod(max(world.pods))


@dataclass(frozen=True, slots=True)
class FleetOutcome:
    """Attainment and pod-hours of one run."""

    attainment: float
    pod_hours: float


def keda_like(
    workload: Workload, objectives: tuple[Objective, ...], capacity_bytes: int, start_seconds: float, cooldown: float
) -> FleetOutcome:
    """Computed, not played: the deployments do not touch each other."""
    met, byte_seconds = 0, 0.0
    for model, times in enumerate(workload.arrivals):
        wait = start_seconds + workload.load_seconds[model]
        good, up = _one_deployment(times.tolist(), wait, workload.execution_seconds[model], objectives[model], cooldown)
        met += good
        byte_seconds += min(up, workload.duration_seconds) * workload.sizes_bytes[model]
    return FleetOutcome(met / max(1, workload.requests), byte_seconds / capacity_bytes / 3600.0)


def _one_deployment(
    times: list[float], wait: float, execution: float, objective: Objective, cooldown: float
) -> tuple[int, float]:
    """Requests that met their objective, and seconds with a pod."""
    hot = math.inf if objective.latency_seconds is None else objective.latency_seconds
    met, up_seconds, ready, until, free = 0, 0.0, 0.0, -1.0, 0.0
    for arrival in times:
        if arrival > until:
            ready = arrival + wait
            up_seconds += wait + cooldown
        else:
            up_seconds += max(0.0, max(arrival, ready) + cooldown - until)
        cold = arrival < ready
        free = max(arrival, ready, free) + execution
        until = max(arrival, ready) + cooldown
        met += free - arrival <= hot + ((objective.cold_start_seconds or 0.0) if cold else 0.0) + 1e-9
    return met, up_seconds
