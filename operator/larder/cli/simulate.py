"""`larder simulate`: play policies on a trace, and print, write and draw what came of it."""

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from larder.cli.workloads import Source, load_workload
from larder.core.simulation.attainment import attained, standard_objectives
from larder.core.simulation.policies import POLICIES, make_policy
from larder.core.simulation.workload import MINUTE_SECONDS, Arrivals, Workload
from larder.core.simulation.world import Hardware, Ledger, World
from larder.errors import InvalidInputError

FILE = click.Path(path_type=Path)
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of one policy, in base units."""

    policy: str
    added_latency_seconds: float
    cold_share: float
    cold_model_minutes: int
    attainment: float
    loads: int
    evictions: int
    wasted_prefetches: int
    pod_hours: float


def summarize(policy: str, workload: Workload, ledger: Ledger) -> Outcome:
    """Count up one finished run."""
    minutes = 0
    for model, batches in enumerate(ledger.batches):
        times = workload.arrivals[model]
        minutes += len({int(t // MINUTE_SECONDS) for b in batches for t in times[b.first : b.last]})
    return Outcome(
        policy,
        ledger.added_latency_seconds,
        ledger.cold_requests / max(1, workload.requests),
        minutes,
        attained(workload, ledger, standard_objectives(workload)),
        ledger.loads,
        ledger.evictions,
        ledger.wasted_prefetches,
        ledger.pod_seconds / 3600.0,
    )


def parse_bytes(text: str) -> int:
    """Parse a Kubernetes quantity of bytes, such as 700M or 2Gi."""
    suffix = next((unit for unit in UNITS if text.endswith(unit)), "")
    try:
        value = float(text.removesuffix(suffix)) * UNITS.get(suffix, 1)
    except ValueError:
        value = 0.0
    if not 1.0 <= value < float("inf"):
        raise InvalidInputError("--pod-memory", text, "it is a positive quantity of bytes, such as 700M or 2Gi")
    return int(value)


def pod_capacity(workload: Workload, pods: int, fraction: float | None, pod_memory: str | None) -> int:
    """The budget of one pod. Raises InvalidInputError when the largest model does not fit."""
    if (fraction is None) == (pod_memory is None):
        raise InvalidInputError("--memory-fraction, --pod-memory", "both or neither", "give exactly one of them")
    if fraction is not None and not 0.0 < fraction < float("inf"):
        raise InvalidInputError("--memory-fraction", fraction, "it is a finite number above 0")
    capacity = int(workload.total_bytes * fraction / pods) if fraction is not None else parse_bytes(pod_memory or "")
    largest = max(range(len(workload.names)), key=lambda n: workload.sizes_bytes[n])
    if workload.sizes_bytes[largest] > capacity:
        needs = f"{workload.names[largest]} alone needs {workload.sizes_bytes[largest]} bytes"
        raise InvalidInputError("memory of a pod in bytes", capacity, needs)
    return capacity


def run_policies(workload: Workload, hardware: Hardware, names: Sequence[str]) -> list[Outcome]:
    """Play each policy, with a progress bar on standard error."""
    columns = (TextColumn("{task.description:>22}"), BarColumn(), TimeElapsedColumn())
    outcomes = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for name in names:
            task = progress.add_task(name, total=1.0)
            ledger = World(workload, hardware).run(
                make_policy(name, workload),
                lambda done, task=task: progress.update(task, completed=done),  # type: ignore[misc]
            )
            progress.update(task, completed=1.0)
            outcomes.append(summarize(name, workload, ledger))
    return outcomes


def print_table(outcomes: Sequence[Outcome]) -> None:
    """The readable table."""
    table = Table(title=None)
    headers = ("policy", "added latency", "cold share", "cold model-min", "attainment", "loads", "evictions")
    for n, header in enumerate((*headers, "wasted prefetches", "pod-hours")):
        table.add_column(header, justify="left" if n == 0 else "right")
    for o in outcomes:
        shares = (f"{o.added_latency_seconds:,.0f} s", f"{o.cold_share:.2%}", f"{o.cold_model_minutes:,}")
        counts = (f"{o.loads:,}", f"{o.evictions:,}", f"{o.wasted_prefetches:,}", f"{o.pod_hours:,.1f}")
        table.add_row(o.policy, *shares, f"{o.attainment:.3%}", *counts)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def write_json(path: Path, outcomes: Sequence[Outcome]) -> None:
    """One object a policy, in base units."""
    path.write_text(json.dumps([asdict(o) for o in outcomes], indent=2) + "\n")


def write_csv(path: Path, outcomes: Sequence[Outcome]) -> None:
    """One line a policy, in base units."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(asdict(outcomes[0])))
        writer.writeheader()
        writer.writerows(asdict(o) for o in outcomes)


def draw(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Bars of added latency, best first, Larder's in colour."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import, and only plots need it)

    ranked = sorted(outcomes, key=lambda o: o.added_latency_seconds, reverse=True)
    figure = Figure(figsize=(8, 0.45 * len(ranked) + 1.4), layout="constrained")
    axes = figure.subplots()
    colours = ["#d95f02" if o.policy == "larder" else "#9db4c0" for o in ranked]
    bars = axes.barh([o.policy for o in ranked], [o.added_latency_seconds for o in ranked], color=colours)
    axes.bar_label(bars, [f"{o.added_latency_seconds:,.0f} s, {o.cold_share:.1%} cold" for o in ranked], padding=4)
    axes.set_xlabel("added latency (seconds waited because of loads, all requests)")
    axes.margins(x=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return list(POLICIES)
    for name in names:
        if name not in POLICIES:
            raise InvalidInputError("--policy", name, f"it is all, or some of {', '.join(POLICIES)}")
    if not names:
        raise InvalidInputError("--policy", text, f"name at least one of {', '.join(POLICIES)}")
    return names


@click.command()
@click.option("--trace", type=FILE, required=True, help="Functions x minutes, or timestamp_seconds,model events.")
@click.option("--profiles", type=FILE, required=True, help="CSV with model,size_mb_keras,load_s_m5,exec_s_m5.")
@click.option("--assignment", help="FILE:COLUMN that names the model of each function.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws models and arrival times.")
@click.option("--memory-fraction", type=float, help="Memory of all pods over the size of all models.")
@click.option("--pod-memory", help="Memory of one pod, such as 700M or 2Gi.")
@click.option("--pods", type=click.IntRange(1), default=4, show_default=True)
@click.option("--loads-at-once", type=click.IntRange(1), default=2, show_default=True, help="Per pod.")
@click.option("--arrivals", type=click.Choice([a.value for a in Arrivals]), default="even", show_default=True)
@click.option("--first-minute", type=click.IntRange(0), default=0, show_default=True)
@click.option("--minutes", type=click.IntRange(1), help="How many; default: to the end.")
@click.option("--policy", default="larder", show_default=True, help="Names separated by commas, or all.")
@click.option("--json", "json_file", type=FILE, help="Write one object a policy.")
@click.option("--csv", "csv_file", type=FILE, help="Write one line a policy.")
@click.option("--plot", "plot_file", type=FILE, help="Draw added latency (png, svg or pdf).")
def simulate(**given: object) -> None:
    """Play caching policies on a trace of requests, in virtual time."""
    try:
        outcomes = _simulate(given)
    except InvalidInputError as error:
        click.echo(f"larder simulate: {error}", err=True)
        sys.exit(2)
    print_table(outcomes)
    for key, write in (("json_file", write_json), ("csv_file", write_csv), ("plot_file", draw)):
        path = given[key]
        if isinstance(path, Path):
            write(path, outcomes)


def _simulate(given: dict[str, object]) -> list[Outcome]:
    options: dict = given  # type: ignore[type-arg]
    names = _names(options["policy"])
    if options["plot_file"] is not None and find_spec("matplotlib") is None:
        raise InvalidInputError("--plot", str(options["plot_file"]), "pip install 'larder-operator[plot]' first")
    keys = ("trace", "profiles", "assignment", "seed", "first_minute", "minutes")
    workload = load_workload(Source(**{k: options[k] for k in keys}, arrivals=Arrivals(options["arrivals"])))
    capacity = pod_capacity(workload, options["pods"], options["memory_fraction"], options["pod_memory"])
    return run_policies(workload, Hardware(capacity, options["pods"], options["loads_at_once"]), names)
