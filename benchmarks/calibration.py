"""`make bench-calibration`: predicted against simulated attainment over draws, memory, pods, hours and rates.

A third of the configurations (every third, marked `held out`) was not looked at while the predictor was built.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from larder.cli.workloads import Source, load_workload
from larder.core.appraisal import Traffic
from larder.core.attainment import Fleet, predict
from larder.core.outlook import make_catalog
from larder.core.simulation.attainment import attained, standard_objectives
from larder.core.simulation.larder import LarderPolicy, Options, declare
from larder.core.simulation.workload import MINUTE_SECONDS, Workload
from larder.core.simulation.world import Hardware, World
from larder.core.sizing import needs_of
from larder.core.snapshot import Settings, Snapshot

MINUTES = 180
DRAWS = ("draw1", "draw2", "draw3")
FRACTIONS = (0.1, 0.2, 0.3, 0.5)
STARTS = (0, 600)
RATES = (1.0, 0.5)
"""Share of requests kept: thinned evenly."""
PODS = (4, 6)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One pool under one load."""

    draw: str
    fraction: float
    first_minute: int
    rate: float
    pods: int


def configurations() -> Iterator[Configuration]:
    """72 of them: all combinations, with six pods only at the full rate."""
    for draw, fraction, start, rate, pods in product(DRAWS, FRACTIONS, STARTS, RATES, PODS):
        if pods == PODS[0] or rate == 1.0:
            yield Configuration(draw, fraction, start, rate, pods)


def build(given: Configuration, shared: Path) -> Workload:
    """Its workload."""
    traces = shared / "traces"
    source = Source(
        traces / "azure2019_200fn_1day_inv.csv",
        shared / "profiles/image_models_26.csv",
        f"{traces / 'azure2019_200fn_models.csv'}:{given.draw}",
        first_minute=given.first_minute,
        minutes=MINUTES,
    )
    workload = load_workload(source)
    step = round(1.0 / given.rate)
    return replace(workload, arrivals=tuple(times[::step] for times in workload.arrivals))


def compare(given: Configuration, workload: Workload) -> tuple[float, float]:
    """Predicted and simulated attainment. The prediction sees sizes, times, objectives and the mean traffic."""
    objectives = standard_objectives(workload)
    capacity = max(int(workload.total_bytes * given.fraction / given.pods), *workload.sizes_bytes)
    hardware, options = Hardware(capacity, given.pods), Options(objectives=objectives)
    ledger = World(workload, hardware).run(LarderPolicy(workload, options))
    models = declare(workload, options)
    catalog = make_catalog(models, 1, 1.0)
    order = [workload.names.index(name) for name in catalog.names]
    counts = [np.bincount((workload.arrivals[n] // MINUTE_SECONDS).astype(int), minlength=MINUTES) for n in order]
    active = np.array([(c > 0).mean() for c in counts])
    burst = np.array([c.sum() / max(1, (c > 0).sum()) for c in counts])
    needs = needs_of(catalog, Snapshot(Settings(1), models, {}))
    fleet = Fleet(given.pods, capacity, hardware.loads_at_once)
    return predict(catalog, Traffic(active, burst), needs, fleet), attained(workload, ledger, objectives)


def main() -> None:
    """Compare all and print the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / "../shared")
    parser.add_argument("--most", type=int, help="only so many configurations")
    shared, most = (given := parser.parse_args()).shared, given.most
    errors, held_out = [], []
    for n, configuration in enumerate(list(configurations())[:most]):
        predicted, simulated = compare(configuration, build(configuration, shared))
        errors.append(predicted - simulated)
        mark = ""
        if n % 3 == 2:
            held_out.append(predicted - simulated)
            mark = " held out"
        print(f"{configuration}: predicted={predicted:.4f} simulated={simulated:.4f}{mark}", flush=True)
    for label, values in (("held out", np.array(held_out)), ("all", np.array(errors))):
        if len(values):
            print(f"{label}: mae={np.abs(values).mean() * 100:.2f} bias={values.mean() * 100:+.2f} n={len(values)}")
    points = np.array(errors) * 100.0
    print(f"calibration: mae_points={np.abs(points).mean():.2f} bias_points={points.mean():.2f} n={len(points)}")


if __name__ == "__main__":
    main()
