"""The same trace through the simulator, with what the run measured in place of what the profiles say. Pure."""

from dataclasses import dataclass, replace
from typing import Final

from e2e.replay.excerpt import Excerpt
from e2e.replay.plan import PODS_MAX, PODS_MIN, TARGET_ATTAINMENT, Plan
from e2e.replay.run import Measures, Seen
from larder.core.simulation.attainment import attained
from larder.core.simulation.larder import LarderPolicy, Options
from larder.core.simulation.oracle import Prefetching
from larder.core.simulation.workload import Workload
from larder.core.simulation.world import Hardware, Ledger, Policy, World
from larder.core.snapshot import Objective

LOADS_AT_ONCE: Final = 2
SIZE_SECONDS: Final = 2.0
"""How often the operator thinks about the number of pods."""
ASSUMED_START_SECONDS: Final = 5.0
"""Where no pod was seen to start."""
MOST_STATIC: Final = 2 * PODS_MAX


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run comes to."""

    attainment: float
    cold_share: float
    loads: int
    pod_seconds: float
    resizings: tuple[tuple[float, str], ...] = ()
    """When the number of pods was changed, and why."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """The smallest number of pods that reaches an attainment without ever changing; None: not even `MOST_STATIC` do."""

    pods: int | None
    attainments: tuple[float, ...]
    seconds: float

    @property
    def pod_seconds(self) -> float:
        """What they cost; where none reaches it, what `MOST_STATIC` would."""
        return (self.pods or MOST_STATIC) * self.seconds


class Simulation:
    """One excerpt as the run measured it, on pods as the run had."""

    def __init__(self, excerpt: Excerpt, objectives: tuple[Objective, ...], seen: Seen, capacity_bytes: int) -> None:
        self.workload, self.objectives = with_measures(excerpt.workload, seen.measures), objectives
        start = ASSUMED_START_SECONDS if seen.start_seconds is None else seen.start_seconds
        capacity = max(capacity_bytes, *self.workload.sizes_bytes)
        self._hardware = Hardware(capacity, PODS_MIN, LOADS_AT_ONCE, start, stop_seconds=seen.stop_seconds or 0.0)

    def larder(self, plan: Plan) -> Figures:
        """Larder with its own number of pods."""
        options = Options(
            self.objectives,
            plan.protection_seconds,
            TARGET_ATTAINMENT,
            PODS_MIN,
            PODS_MAX,
            interval_seconds=plan.cut.interval_seconds,
            scale_every_seconds=SIZE_SECONDS,
            scale_down_after_seconds=plan.scale_down_seconds,
            as_in_operator=True,
        )
        policy = LarderPolicy(self.workload, options)
        return replace(self._figures(policy, PODS_MIN), resizings=tuple(policy.resizings))

    def feasible(self) -> float:
        """What the most pods from the start and clairvoyant placement attain."""
        return self._figures(Prefetching(seen_only=False), PODS_MAX).attainment

    def fixed(self, plan: Plan, attainment: float) -> Fixed:
        """The smallest number of pods with which Larder's planner attains as much without changing it."""
        options = Options(
            self.objectives, plan.protection_seconds, interval_seconds=plan.cut.interval_seconds, as_in_operator=True
        )
        reached: list[float] = []
        for pods in range(1, MOST_STATIC + 1):
            reached.append(self._figures(LarderPolicy(self.workload, options), pods).attainment)
            if reached[-1] >= attainment:
                return Fixed(pods, tuple(reached), self.workload.duration_seconds)
        return Fixed(None, tuple(reached), self.workload.duration_seconds)

    def _figures(self, policy: Policy, pods: int) -> Figures:
        ledger = World(self.workload, replace(self._hardware, pods=pods)).run(policy)
        return figures_of(self.workload, ledger, self.objectives)


def figures_of(workload: Workload, ledger: Ledger, objectives: tuple[Objective, ...]) -> Figures:
    """What a simulated run comes to."""
    return Figures(
        attained(workload, ledger, objectives),
        ledger.cold_requests / max(1, workload.requests),
        ledger.loads,
        ledger.pod_seconds,
    )


def with_measures(workload: Workload, measures: tuple[Measures, ...]) -> Workload:
    """The workload with what was measured; what was not stays as it was told."""
    rows = list(zip(measures, workload.sizes_bytes, workload.load_seconds, workload.execution_seconds, strict=True))
    return replace(
        workload,
        sizes_bytes=tuple(m.size_bytes or told for m, told, _, _ in rows),
        load_seconds=tuple(m.load_seconds or told for m, _, told, _ in rows),
        execution_seconds=tuple(m.execution_seconds or told for m, _, _, told in rows),
    )
