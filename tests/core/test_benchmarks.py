"""Short forms of the benchmarks: the same programs, minutes of the day or small pools."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import cache
from benchmarks.runs import Runs
from larder.core.simulation.policies import make_policy
from larder.core.simulation.synthetic import KINDS
from larder.core.simulation.workload import Arrivals, Workload, spread
from larder.core.simulation.world import Hardware, World

np = pytest.importorskip("numpy")
ROOT = Path(__file__).parents[2]


def figures(*command: str) -> dict[str, float]:
    """The last line of a benchmark, by name."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    return {name: float(value) for name, value in (part.split("=") for part in done.stdout.split("\n")[-2].split()[1:])}


def test_the_plan_benchmark_measures_a_full_plan_and_a_cold_request_at_a_tenth_of_the_size() -> None:
    assert figures("benchmarks.plan", "--quick").keys() == {"full_10k_s", "cold_p99_ms", "rss_mb"}


def test_the_cache_benchmark_goes_on_where_it_was_and_larder_is_ahead_in_its_short_form(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"

    def ratios() -> list[float]:
        with ThreadPoolExecutor(1) as pool:
            return [r.ratio for r in cache.Grid(pool, Runs(path), cache.SHARED).play(list(cache.cells(True)), None)]

    first = ratios()
    assert max(first) < 1.0
    made = path.read_text()
    assert ratios() == first
    assert path.read_text() == made


def test_the_fleet_benchmark_compares_larder_with_every_rival_in_its_short_form() -> None:
    found = figures("benchmarks.fleet", "--quick")
    assert found.keys() == {"attainment", "vs_modelmesh", "vs_keda", "vs_static"}
    assert 0.9 < found["attainment"] <= 1.0


@pytest.mark.parametrize("name", ["cache", "coldstart", "fleet", "gateway", "plan", "streams"])
def test_a_benchmark_can_at_least_be_asked_what_it_does(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_calibration_benchmark_is_within_its_bars_in_its_short_form() -> None:
    found = figures("benchmarks.calibration", "--most", "3")
    assert found["n"] == 3
    assert found["mae_points"] <= 5.0


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
