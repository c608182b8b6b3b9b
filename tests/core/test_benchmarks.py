"""Short forms of the benchmarks: the same programs, minutes of the day or small pools."""

import subprocess
import sys
from pathlib import Path

import pytest

from larder.core.simulation.policies import make_policy
from larder.core.simulation.synthetic import KINDS
from larder.core.simulation.workload import Arrivals, Workload, spread
from larder.core.simulation.world import Hardware, World

np = pytest.importorskip("numpy")
ROOT = Path(__file__).parents[2]


def last_line(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_a_full_plan_and_a_cold_request_are_fast_at_a_tenth_of_the_size() -> None:
    figures = dict(part.split("=") for part in last_line("benchmarks/plan.py", "--quick").split()[1:])
    assert float(figures["full_10k_s"]) < 1.0
    assert float(figures["cold_p99_ms"]) < 50.0


@pytest.mark.parametrize("kind", ["timers", "daily"])
def test_larder_is_not_behind_the_classical_policies_on_a_small_synthetic_trace(kind: str) -> None:
    rng = np.random.default_rng(5)
    models, minutes = 40, 300
    counts = KINDS[kind](models, minutes, rng)
    sizes, loads = rng.integers(10, 40, models), rng.uniform(2.0, 12.0, models)
    trace = Workload(
        tuple(f"m{n:02d}" for n in range(models)),
        tuple(int(s) for s in sizes),
        tuple(float(s) for s in loads),
        (0.1,) * models,
        spread(counts, Arrivals.EVEN, rng),
        minutes * 60.0,
    )
    hardware = Hardware(int(trace.total_bytes * 0.3 / 4), 4)
    names = ("larder", "lru", "gdsf", "cremebrulee-decay")
    costs = {n: World(trace, hardware).run(make_policy(n, trace)).added_latency_seconds for n in names}
    assert costs["larder"] <= 1.05 * min(costs[n] for n in names[1:])
