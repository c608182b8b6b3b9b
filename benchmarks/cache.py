"""`make bench-cache`: Larder against every classical online policy, on the trace, its variations and synthetic traces.

The cost is the total added latency: seconds waited because of loads, summed over requests. Every cell is printed as
it is done and, with --out, appended to a file of JSON lines.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from larder.cli.tables import read_profiles
from larder.cli.workloads import Source, load_workload
from larder.core.simulation.policies import RANKINGS, make_policy
from larder.core.simulation.synthetic import KINDS
from larder.core.simulation.workload import Arrivals, Workload, spread
from larder.core.simulation.world import Hardware, World

FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8)
JUDGED = (0.05, 0.1, 0.2, 0.3, 0.5)
DRAWS = ("draw1", "draw2", "draw3")
SYNTHETIC_FRACTIONS = (0.1, 0.3)
SYNTHETIC_MODELS, SYNTHETIC_MINUTES = 100, 720
BOUNDS = ("belady", "belady-prefetch", "belady-prefetch-seen")


@dataclass(frozen=True, slots=True)
class Cell:
    """One workload at one memory fraction."""

    trace: str
    draw: str
    arrivals: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Result:
    """Costs in seconds by policy; those marked `+order` serve waiting models in Larder's order."""

    cell: Cell
    costs: dict[str, float]

    @property
    def best(self) -> float:
        """The best classical online policy, as published."""
        return min(self.costs[name] for name in RANKINGS)

    @property
    def ratio(self) -> float:
        """Larder's cost over the best classical one."""
        return self.costs["larder"] / self.best


def cells(quick: bool) -> Iterator[Cell]:
    """The judged ones first, then the synthetic traces, then the rest of the grid."""
    if quick:
        yield Cell("azure", "draw1", "even", 0.3)
        return
    for fraction in JUDGED:
        yield from (Cell("azure", draw, "even", fraction) for draw in DRAWS)
    for kind in KINDS:
        yield from (Cell(kind, "draw1", "even", fraction) for fraction in SYNTHETIC_FRACTIONS)
    for arrivals in ("even", "poisson", "phase"):
        for fraction in reversed(FRACTIONS):
            if arrivals != "even" or fraction not in JUDGED:
                yield from (Cell("azure", draw, arrivals, fraction) for draw in DRAWS)


def build(cell: Cell, shared: Path, minutes: int | None) -> Workload:
    """The workload of a cell."""
    profiles = shared / "profiles/image_models_26.csv"
    if cell.trace == "azure":
        traces = shared / "traces"
        assignment = f"{traces / 'azure2019_200fn_models.csv'}:{cell.draw}"
        trace = traces / "azure2019_200fn_1day_inv.csv"
        arrivals = Arrivals(cell.arrivals)
        return load_workload(Source(trace, profiles, assignment, arrivals=arrivals, minutes=minutes))
    rng = np.random.default_rng(1)
    costs = [p for _, p in sorted(read_profiles(profiles).items())]
    counts = KINDS[cell.trace](SYNTHETIC_MODELS, SYNTHETIC_MINUTES, rng)
    chosen = [costs[n] for n in rng.integers(0, len(costs), SYNTHETIC_MODELS)]
    return Workload(
        tuple(f"m{n:03d}" for n in range(SYNTHETIC_MODELS)),
        tuple(c.size_bytes for c in chosen),
        tuple(c.load_seconds for c in chosen),
        tuple(c.execution_seconds for c in chosen),
        spread(counts, Arrivals(cell.arrivals), rng),
        SYNTHETIC_MINUTES * 60.0,
    )


def play(cell: Cell, workload: Workload, plain: bool) -> Result:
    """Run every policy of a cell; `plain` leaves out bounds and Larder's order for others."""
    pods = 2 if cell.fraction == 0.05 else 4
    capacity = max(int(workload.total_bytes * cell.fraction / pods), *workload.sizes_bytes)
    hardware, costs = Hardware(capacity, pods), {}
    judged = not plain and cell.trace == "azure" and cell.arrivals == "even" and cell.fraction in JUDGED
    bounds = BOUNDS if judged and cell.draw == "draw1" else ()
    for name in ("larder", *RANKINGS, *bounds):
        costs[name] = World(workload, hardware).run(make_policy(name, workload)).added_latency_seconds
    for name in RANKINGS if judged else ():
        policy = make_policy(name, workload, larder_order=True)
        costs[f"{name}+order"] = World(workload, hardware).run(policy).added_latency_seconds
    return Result(cell, costs)


def last_line(results: list[Result]) -> str:
    """The line that is judged: means over draws at the judged fractions, and the worst cell."""
    parts = []
    for fraction in JUDGED:
        even = Cell("azure", "", "even", fraction)
        own = [r for r in results if replace(r.cell, draw="") == even]
        if own:
            best = min(math.fsum(r.costs[name] for r in own) for name in RANKINGS)
            parts.append(f"f{round(fraction * 100):02d}={math.fsum(r.costs['larder'] for r in own) / best:.3f}")
    return f"cache: {' '.join(parts)} worst={max(r.ratio for r in results):.3f}"


def main() -> None:
    """Run the grid and print its last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / "../shared")
    parser.add_argument("--quick", action="store_true", help="one cell, three hours")
    parser.add_argument("--plain", action="store_true", help="only what is judged: no bounds, no borrowed order")
    parser.add_argument("--out", type=Path, help="append every cell as one line of JSON")
    given = parser.parse_args()
    results = []
    for cell in cells(given.quick):
        began = time.monotonic()
        result = play(cell, build(cell, given.shared, 180 if given.quick else None), given.plain)
        results.append(result)
        costs = " ".join(f"{name}={cost:.0f}" for name, cost in result.costs.items())
        label = f"{cell.trace} {cell.draw} {cell.arrivals} {cell.fraction}"
        print(f"{label}: ratio={result.ratio:.3f} {costs} ({time.monotonic() - began:.0f} s)", flush=True)
        if given.out:
            with given.out.open("a") as file:
                file.write(json.dumps({"cell": asdict(cell), "costs": result.costs}) + "\n")
    print(last_line(results))


if __name__ == "__main__":
    main()
