"""`make bench-fleet`: pod-hours that each fleet needs to reach 0.99 of the feasible attainment.

Draw 1 of the trace, whole day, even arrivals, pods of 1.2 GB (twice the largest model) that start in 60 s, at most
24 of them (which hold every model). Objectives: see `larder.core.simulation.attainment.standard_objectives`. Feasible
is what all 24 pods from the start and clairvoyant loading reach. Swept: for Larder and every rival its own parameters,
as printed; the cheapest run that reaches the bar counts.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from larder.cli.workloads import Source, load_workload
from larder.core.simulation.attainment import attained, standard_objectives
from larder.core.simulation.fleets import FleetOutcome, MeshParameters, ModelMeshLike, keda_like
from larder.core.simulation.larder import LarderPolicy, Options
from larder.core.simulation.oracle import Prefetching
from larder.core.simulation.policies import RANKINGS, make_policy
from larder.core.simulation.workload import Workload
from larder.core.simulation.world import Hardware, Policy, World

POD_BYTES = 1_200_000_000
MOST_PODS = 24
START_SECONDS = 60.0
SHARE = 0.99
LARDER_TARGETS = (0.980, 0.985, 0.990, 0.995)
MESH_PODS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)
MESH_TARGETS = (0.6, 0.8, 0.9)
MESH_GUARDS = (0.0, 300.0)
COOLDOWNS = tuple(60.0 * m for m in (1, 5, 10, 20, 30, 60, 120, 240, 480, 1440))
QUICK_MINUTES = 120


@dataclass(frozen=True, slots=True)
class Sweep:
    """The parameters that are tried, and the share of the feasible attainment that is to be reached."""

    rankings: tuple[str, ...] = tuple(RANKINGS)
    mesh: tuple[tuple[int, float, float], ...] = tuple(product(MESH_PODS, MESH_TARGETS, MESH_GUARDS))
    cooldowns: tuple[float, ...] = COOLDOWNS
    targets: tuple[float, ...] = LARDER_TARGETS
    share: float = SHARE


QUICK = Sweep(("gdsf",), ((MOST_PODS, 0.8, 0.0),), COOLDOWNS[3:4], LARDER_TARGETS[:1], 0.95)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a sweep."""

    label: str
    outcome: FleetOutcome


class Bench:
    """One workload, its objectives, and what has been run on it."""

    def __init__(self, workload: Workload, sweep: Sweep) -> None:
        self.workload, self.objectives, self.sweep = workload, standard_objectives(workload), sweep

    def play(self, policy: Policy, pods: int) -> FleetOutcome:
        """Run a policy that begins with so many pods."""
        world = World(self.workload, Hardware(POD_BYTES, pods, 2, START_SECONDS))
        ledger = world.run(policy)
        return FleetOutcome(attained(self.workload, ledger, self.objectives), ledger.pod_seconds / 3600.0)

    def cheapest(self, name: str, runs: list[Run], bar: float) -> Run | None:
        """Print a sweep; the cheapest run that reaches the bar, if any does."""
        for run in runs:
            print(f"{name} {run.label}: attainment={run.outcome.attainment:.4f} pod-hours={run.outcome.pod_hours:.1f}")
        good = [run for run in runs if run.outcome.attainment >= bar]
        best = min(good, key=lambda run: run.outcome.pod_hours, default=None)
        print(f"{name}: {'never reaches the bar' if best is None else f'cheapest is {best.label}'}", flush=True)
        return best

    def static(self, bar: float) -> list[Run]:
        """For each classical policy the fewest pods, never changed, that reach the bar."""
        runs = []
        for name in self.sweep.rankings:
            for pods in range(1, MOST_PODS + 1):
                outcome = self.play(make_policy(name, self.workload), pods)
                if outcome.attainment >= bar or pods == MOST_PODS:
                    runs.append(Run(f"{name} on {pods} pods", outcome))
                    break
        return runs

    def mesh(self) -> list[Run]:
        """ModelMesh-like: most pods, memory target of the HPA, churn guard."""
        return [
            Run(f"most={most} target={target} guard={guard:.0f}s", self.play(policy, 1))
            for most, target, guard in self.sweep.mesh
            if (policy := ModelMeshLike(MeshParameters(most, target, guard)))
        ]

    def keda(self) -> list[Run]:
        """KEDA-like: the cool-down."""
        run: Callable[[float], FleetOutcome] = lambda cooldown: keda_like(  # noqa: E731
            self.workload, self.objectives, POD_BYTES, START_SECONDS, cooldown
        )
        return [Run(f"cooldown={c / 60.0:.0f}min", run(c)) for c in self.sweep.cooldowns]

    def larder(self) -> list[Run]:
        """Larder: the attainment that its autoscaler is told to hold."""
        runs = []
        for target in self.sweep.targets:
            options = Options(objectives=self.objectives, target_attainment=target, most_pods=MOST_PODS)
            runs.append(Run(f"target={target}", self.play(LarderPolicy(self.workload, options), 1)))
        return runs


def main() -> None:
    """Run every sweep and print the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / "../shared")
    parser.add_argument("--minutes", type=int, help="fewer than the whole day")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_MINUTES} minutes, one run of each fleet, {QUICK.share} of the feasible",
    )
    given = parser.parse_args()
    minutes = QUICK_MINUTES if given.quick else given.minutes
    traces, profiles = given.shared / "traces", given.shared / "profiles/image_models_26.csv"
    assignment = f"{traces / 'azure2019_200fn_models.csv'}:draw1"
    source = Source(traces / "azure2019_200fn_1day_inv.csv", profiles, assignment, minutes=minutes)
    bench = Bench(load_workload(source), QUICK if given.quick else Sweep())
    feasible = bench.play(Prefetching(seen_only=False), MOST_PODS).attainment
    bar = bench.sweep.share * feasible
    print(f"feasible attainment {feasible:.4f}, to reach {bar:.4f}", flush=True)
    static = bench.cheapest("static", bench.static(bar), bar)
    keda = bench.cheapest("keda-like", bench.keda(), bar)
    mesh = bench.cheapest("modelmesh-like", bench.mesh(), bar)
    larder = bench.cheapest("larder", bench.larder(), bar)
    if larder is None or static is None:
        print("fleet: attainment=none")
        return
    own, fallback = larder.outcome.pod_hours, static.outcome.pod_hours
    ratios = [own / (run.outcome.pod_hours if run else fallback) for run in (mesh, keda, static)]
    named = f"vs_modelmesh={ratios[0]:.3f} vs_keda={ratios[1]:.3f} vs_static={ratios[2]:.3f}"
    print(f"fleet: attainment={larder.outcome.attainment:.4f} {named}")


if __name__ == "__main__":
    main()
