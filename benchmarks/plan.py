"""`make bench-plan`: the full plan and one cold request at 10,000 models x 1,000 pods, and how the time grows."""

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from larder.core.cold_desk import ColdDesk
from larder.core.forecast import Forecaster
from larder.core.outlook import appraise, make_catalog
from larder.core.planner import plan
from larder.core.snapshot import (
    Measured,
    Model,
    Placement,
    PlacementState,
    Pod,
    PodState,
    Settings,
    Snapshot,
    Waiting,
)

NOW = 100_000.0
POD_BYTES = 16 * 2**30
WAITING_SHARE = 0.01
COPIES_SHARE = 1.5
"""Memory of all pods over that of all models with one copy."""
BY_MODELS = tuple((models, 250) for models in (1_000, 2_500, 5_000, 10_000))
BY_PODS = tuple((10_000, pods) for pods in (100, 250, 500, 1_000))
SIZES = tuple(dict.fromkeys(BY_MODELS + BY_PODS))

Times = dict[tuple[int, int], tuple[float, float]]
"""By models and pods: seconds of a full plan, and of one cold request in milliseconds."""


def build(models: int, pods: int, rng: np.random.Generator) -> Snapshot:
    """A full pool: every pod filled to the brim, one model in a hundred waited for."""
    mean_bytes = COPIES_SHARE * POD_BYTES * pods / models / 2.0
    sizes = np.clip(rng.lognormal(np.log(mean_bytes), 0.8, models), 2**20, POD_BYTES / 4).astype(int)
    names = [f"model-{n:05d}" for n in range(models)]
    declared = {
        name: Model(name, int(sizes[n]), load_seconds=Measured(float(rng.uniform(1, 20)), 0.0, 1, NOW))
        for n, name in enumerate(names)
    }
    cold = {names[n] for n in rng.choice(models, max(1, int(models * WAITING_SHARE)), replace=False)}
    placements = tuple(_fill(names, sizes, cold, pods, rng))
    waiting = {name: Waiting(name, int(rng.integers(1, 9)), NOW - 1.0, NOW + 30.0) for name in sorted(cold)}
    catalog = make_catalog(declared, 2**30, 1.0)
    forecaster = Forecaster(models, start_seconds=NOW - 600.0)
    for _ in range(9):
        forecaster.add(rng.poisson(0.3, models))
        forecaster.close_interval()
    appraisal = appraise(catalog, forecaster.outlook(NOW, catalog.load_seconds))
    limits = Settings(2**30, max_pods=pods, protection_seconds=30.0)
    where = {f"pod-{n:04d}": Pod(f"pod-{n:04d}", PodState.SERVING, POD_BYTES) for n in range(pods)}
    return Snapshot(limits, declared, where, placements, waiting, appraisal=appraisal)


def _fill(names: list[str], sizes: np.ndarray, cold: set[str], pods: int, rng: np.random.Generator) -> list[Placement]:
    placements = []
    order = [n for n in rng.permutation(len(names)).tolist() if names[n] not in cold]
    at = 0
    for pod in range(pods):
        free, taken = POD_BYTES, set()
        for _ in range(len(order)):
            n = order[at % len(order)]
            if sizes[n] > free or n in taken:
                break
            taken.add(n)
            free -= int(sizes[n])
            at += 1
            ready = PlacementState.READY
            placements.append(Placement(names[n], f"pod-{pod:04d}", ready, int(sizes[n]), NOW - 3600.0))
    return placements


def full_seconds(snapshot: Snapshot, repeats: int = 3) -> float:
    """The best time of a few full plans."""
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        plan(snapshot, NOW)
        best = min(best, time.perf_counter() - began)
    return best


def cold_seconds(snapshot: Snapshot) -> list[float]:
    """The time of every cold request of the snapshot, decided one after the other."""
    desk = ColdDesk(replace(snapshot, waiting={}), NOW)
    times = []
    for held in snapshot.waiting.values():
        began = time.perf_counter()
        desk.decide(held, NOW)
        times.append(time.perf_counter() - began)
    return times


def grows(times: Times, sizes: tuple[tuple[int, int], ...], axis: int, column: int) -> float:
    """The exponent with which a time grows along models (axis 0) or pods (1): the slope of its logarithm."""
    known = [size for size in sizes if size in times]
    steps = [np.log(size[axis]) for size in known]
    return float(np.polyfit(steps, [np.log(times[size][column]) for size in known], 1)[0])


def draw(path: Path, times: Times) -> None:
    """How the times grow, on logarithmic axes."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import, and only the plot needs it)

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    curves = ((BY_MODELS, 0, "models, 250 pods"), (BY_PODS, 1, "pods, 10,000 models"))
    for axes, (sizes, axis, label) in zip(figure.subplots(1, 2, sharey=True), curves, strict=True):
        for column, unit, name in ((0, 1000.0, "full plan"), (1, 1.0, "one cold request, p99")):
            shown = [times[size][column] * unit for size in sizes]
            exponent = grows(times, sizes, axis, column)
            axes.loglog([size[axis] for size in sizes], shown, "o-", label=f"{name}: power {exponent:.1f}")
        axes.set_xlabel(label)
        axes.set_xticks([size[axis] for size in sizes], [f"{size[axis]:,}" for size in sizes])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="center")
    figure.axes[0].set_ylabel("ms")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure every size and print the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest size only")
    parser.add_argument("--plot", type=Path, help="draw how the times grow")
    given = parser.parse_args()
    times: Times = {}
    for models, pods in SIZES[:1] if given.quick else SIZES:
        snapshot = build(models, pods, np.random.default_rng(0))
        full, cold = full_seconds(snapshot), float(np.percentile(cold_seconds(snapshot), 99)) * 1000.0
        times[models, pods] = (full, cold)
        placed = len(snapshot.placements)
        print(f"{models} models x {pods} pods, {placed} placements: {full:.3f} s, {cold:.2f} ms", flush=True)
    if not given.quick:
        for name, column in (("a full plan", 0), ("a cold request", 1)):
            by_models, by_pods = grows(times, BY_MODELS, 0, column), grows(times, BY_PODS, 1, column)
            print(f"{name} grows with models to the power {by_models:.2f}, with pods to the power {by_pods:.2f}")
    full, cold = times[max(times, key=lambda size: size[0] * size[1])]
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    if given.plot and not given.quick:
        draw(given.plot, times)
    print(f"plan: full_10k_s={full:.3f} cold_p99_ms={cold:.2f} rss_mb={rss_mb:.0f}")


if __name__ == "__main__":
    main()
