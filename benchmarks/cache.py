"""`make bench-cache`: Larder against every classical online policy, on the trace, its variations and synthetic traces.

The cost is the total added latency: seconds waited because of loads, summed over requests. Every cell is printed
when it is done. Every run is kept (--runs), so that a benchmark that was stopped, or whose code changed in part, does
only what is missing.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.runs import Runs, default_path, digest, revision
from larder.cli.tables import read_profiles
from larder.cli.workloads import Source, load_workload
from larder.core.simulation.policies import ONLINE, RANKINGS, make_policy
from larder.core.simulation.synthetic import KINDS
from larder.core.simulation.workload import Arrivals, Workload, spread
from larder.core.simulation.world import Hardware, World

SHARED = Path(__file__).parents[1] / "../shared"
FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8)
JUDGED = (0.05, 0.1, 0.2, 0.3, 0.5)
DRAWS = ("draw1", "draw2", "draw3")
SYNTHETIC_MODELS, SYNTHETIC_MINUTES = 100, 720
BOUNDS = ("belady", "belady-prefetch", "belady-prefetch-seen")
ORDER = "+order"
"""Marks a classical policy that serves waiting models in Larder's order; printed beside the others, not judged."""
QUICK_MINUTES = 120
DRAWN = 0.2
LARDER_CODE, ORACLE_CODE = "larder.core.simulation.larder", "larder.core.simulation.oracle"
CLASSICAL_CODE = "larder.core.simulation.policies"


@dataclass(frozen=True, slots=True)
class Cell:
    """One workload at one memory fraction."""

    trace: str
    draw: str
    arrivals: str
    fraction: float
    minutes: int | None = None

    def __str__(self) -> str:
        return f"{self.trace} {self.draw} {self.arrivals} {self.fraction}"

    @property
    def is_judged(self) -> bool:
        """Whether its costs are part of a mean that has a bar of its own."""
        return self.trace == "azure" and self.arrivals == "even" and self.fraction in JUDGED


@dataclass(frozen=True, slots=True)
class Result:
    """Costs in seconds by policy."""

    cell: Cell
    costs: dict[str, float]

    @property
    def ratio(self) -> float:
        """Larder's cost over that of the best classical online policy, as published."""
        return self.costs["larder"] / min(self.costs[name] for name in ONLINE)


def cells(quick: bool) -> Iterator[Cell]:
    """The judged ones first, then the synthetic traces, then the rest of the grid."""
    if quick:
        yield Cell("azure", "draw1", "even", 0.3, QUICK_MINUTES)
        yield Cell("timers", "seed1", "even", 0.3, QUICK_MINUTES)
        return
    for fraction in JUDGED:
        yield from (Cell("azure", draw, "even", fraction) for draw in DRAWS)
    for fraction in FRACTIONS:
        yield from (Cell(kind, "seed1", "even", fraction) for kind in KINDS)
    for arrivals in ("even", "poisson", "phase"):
        for fraction in reversed(FRACTIONS):
            if arrivals != "even" or fraction not in JUDGED:
                yield from (Cell("azure", draw, arrivals, fraction) for draw in DRAWS)


def policies(cell: Cell) -> tuple[str, ...]:
    """What is run in a cell; bounds and the borrowed order where there is a bar."""
    extra = (*BOUNDS, *(name + ORDER for name in RANKINGS)) if cell.is_judged and cell.minutes is None else ()
    return ("larder", *ONLINE, *extra)


@lru_cache(maxsize=4)
def build(cell: Cell, shared: Path) -> Workload:
    """The workload of a cell."""
    profiles = shared / "profiles/image_models_26.csv"
    if cell.trace == "azure":
        traces = shared / "traces"
        assignment = f"{traces / 'azure2019_200fn_models.csv'}:{cell.draw}"
        trace = traces / "azure2019_200fn_1day_inv.csv"
        arrivals = Arrivals(cell.arrivals)
        return load_workload(Source(trace, profiles, assignment, arrivals=arrivals, minutes=cell.minutes))
    rng = np.random.default_rng(int(cell.draw.removeprefix("seed")))
    costs = [p for _, p in sorted(read_profiles(profiles).items())]
    minutes = cell.minutes or SYNTHETIC_MINUTES
    counts = KINDS[cell.trace](SYNTHETIC_MODELS, minutes, rng)
    chosen = [costs[n] for n in rng.integers(0, len(costs), SYNTHETIC_MODELS)]
    return Workload(
        tuple(f"m{n:03d}" for n in range(SYNTHETIC_MODELS)),
        tuple(c.size_bytes for c in chosen),
        tuple(c.load_seconds for c in chosen),
        tuple(c.execution_seconds for c in chosen),
        spread(counts, Arrivals(cell.arrivals), rng),
        minutes * 60.0,
    )


def hardware(cell: Cell, workload: Workload) -> Hardware:
    """Four pods, two at 0.05, that share the fraction of memory; each holds at least the largest model."""
    pods = 2 if cell.fraction == min(FRACTIONS) else 4
    return Hardware(max(int(workload.total_bytes * cell.fraction / pods), *workload.sizes_bytes), pods)


def key(cell: Cell, workload: Workload, name: str) -> str:
    """What a run's result depends on."""
    if name == "larder" or name in BOUNDS:
        code = revision(LARDER_CODE if name == "larder" else ORACLE_CODE)
    else:
        code = revision(CLASSICAL_CODE, without=frozenset((LARDER_CODE, ORACLE_CODE)))
    return f"{code} {digest(workload)} {hardware(cell, workload)} {name}"


def play(cell: Cell, shared: Path, name: str) -> dict[str, float]:
    """One run."""
    workload, began = build(replace(cell, fraction=0.0), shared), time.process_time()
    policy = make_policy(name.removesuffix(ORDER), workload, larder_order=name.endswith(ORDER))
    ledger = World(workload, hardware(cell, workload)).run(policy)
    return {
        "added_latency_seconds": ledger.added_latency_seconds,
        "loads": ledger.loads,
        "wasted_prefetches": ledger.wasted_prefetches,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


class Grid:
    """Cells over a pool of workers and a file of runs."""

    def __init__(self, pool: Executor, runs: Runs, shared: Path) -> None:
        self._pool, self._runs, self._shared = pool, runs, shared

    def play(self, todo: list[Cell], names: tuple[str, ...] | None) -> Iterator[Result]:
        """Results in order; every run is kept as soon as it is done. `names`: only these policies, no results."""
        asked: list[tuple[Cell, dict[str, Future[dict[str, float]] | dict[str, float]]]] = []
        for cell in todo:
            workload = build(replace(cell, fraction=0.0), self._shared)
            asked.append((cell, {n: self._ask(cell, workload, n) for n in names or policies(cell)}))
        for cell, runs in asked:
            figures = {n: run if isinstance(run, dict) else run.result() for n, run in runs.items()}
            if names is None:
                yield Result(cell, {n: f["added_latency_seconds"] for n, f in figures.items()})

    def _ask(self, cell: Cell, workload: Workload, name: str) -> Future[dict[str, float]] | dict[str, float]:
        known = self._runs.get(at := key(cell, workload, name))
        if known is not None:
            return known
        future = self._pool.submit(play, cell, self._shared, name)
        future.add_done_callback(lambda done: self._runs.put(at, f"{cell} {name}", done.result()))
        return future


def last_line(results: list[Result]) -> str:
    """The line that is judged: means over draws at the judged fractions, and the worst cell."""
    parts = []
    for fraction in JUDGED:
        own = [r for r in results if r.cell.is_judged and r.cell.fraction == fraction]
        if own:
            best = min(math.fsum(r.costs[name] for r in own) for name in ONLINE)
            parts.append(f"f{round(fraction * 100):02d}={math.fsum(r.costs['larder'] for r in own) / best:.3f}")
    return f"cache: {' '.join(parts)} worst={max(r.ratio for r in results):.3f}"


def draw(path: Path, results: list[Result]) -> None:
    """The mean cost of each policy at the fraction in the middle, as seen on the trace."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import, and only the plot needs it)

    shown = [r for r in results if r.cell.is_judged and r.cell.fraction == DRAWN]
    names = [name for name in shown[0].costs if not name.endswith(ORDER)]
    means = {name: math.fsum(r.costs[name] for r in shown) / len(shown) for name in names}
    ranked = sorted(names, key=means.__getitem__, reverse=True)
    figure = Figure(figsize=(8, 0.38 * len(ranked) + 1.2), layout="constrained")
    axes = figure.subplots()
    colours = ["#d95f02" if name == "larder" else "#dddddd" if name in BOUNDS else "#9db4c0" for name in ranked]
    bars = axes.barh(ranked, [means[name] / 1000.0 for name in ranked], color=colours)
    axes.bar_label(bars, [f"{means[name] / 1000.0:,.1f}" for name in ranked], padding=4)
    axes.set_xlabel(f"added latency (1000 s), memory {DRAWN}, mean of {len(shown)} draws; grey: knows the future")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the grid and print its last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--quick", action="store_true", help="two cells, two hours")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; they run with the lowest priority")
    parser.add_argument("--runs", type=Path, default=default_path("bench-cache"), help="where finished runs are kept")
    parser.add_argument("--plot", type=Path, help=f"draw the policies at memory {DRAWN}")
    parser.add_argument("--only", help="make and keep the runs of these policies (A,B,...), print no cells")
    given = parser.parse_args()
    names = tuple(given.only.split(",")) if given.only else None
    results = []
    with ProcessPoolExecutor(given.jobs, initializer=os.nice, initargs=(19,)) as pool:
        for result in Grid(pool, Runs(given.runs), given.shared).play(list(cells(given.quick)), names):
            results.append(result)
            costs = " ".join(f"{name}={cost:.0f}" for name, cost in result.costs.items())
            print(f"{result.cell}: ratio={result.ratio:.3f} {costs}", flush=True)
    if given.plot and results and not given.quick:
        draw(given.plot, results)
    if results:
        print(last_line(results))


if __name__ == "__main__":
    main()
