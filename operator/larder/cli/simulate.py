"""`larder simulate`: play policies on a trace, and print, write and draw what came of it."""

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from larder.cli.files import check_writable, write_all
from larder.cli.objectives import STANDARD_SLO, Slo, parse_slo
from larder.cli.outputs import PLOT_FORMATS, Outcome, as_csv, as_json, as_plot, print_table
from larder.cli.tables import read_profiles
from larder.cli.workloads import Source, load_workload
from larder.core.simulation.attainment import attained
from larder.core.simulation.larder import LarderPolicy, Options
from larder.core.simulation.policies import POLICIES, make_policy
from larder.core.simulation.workload import MINUTE_SECONDS, Arrivals, Workload
from larder.core.simulation.world import Hardware, Ledger, World
from larder.core.snapshot import Objective
from larder.errors import InvalidInputError

FILE = click.Path(path_type=Path)
TARGET_ATTAINMENT = 0.99
"""What Larder scales for: the percentile of its objectives."""
MOST_BYTES = 2.0**50
MOST_FRACTION = 1000.0
MOST_PODS = 10_000
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def summarize(policy: str, workload: Workload, ledger: Ledger, objectives: tuple[Objective, ...]) -> Outcome:
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
        attained(workload, ledger, objectives),
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
    if not 1.0 <= value <= MOST_BYTES:
        raise InvalidInputError("--pod-memory", text, "it is a quantity of bytes such as 700M or 2Gi, from 1 to 1Pi")
    return int(value)


def _needs(workload: Workload, largest: int, profiles: Path) -> str:
    size = workload.sizes_bytes[largest]
    fits = ((name, profile.where) for name, profile in read_profiles(profiles).items() if profile.size_bytes == size)
    name, where = next(fits, (workload.names[largest], str(profiles)))
    return f"{name} alone needs {size} bytes ({where})"


def pod_capacity(workload: Workload, pods: int, given: Mapping[str, Any]) -> int:
    """The budget of one pod. Raises InvalidInputError when the largest model does not fit."""
    fraction, pod_memory = given["memory_fraction"], given["pod_memory"]
    if (fraction is None) == (pod_memory is None):
        both = "neither" if fraction is None else "both"
        raise InvalidInputError("--memory-fraction, --pod-memory", both, "give exactly one of them")
    if fraction is not None and not 0.0 < fraction <= MOST_FRACTION:
        raise InvalidInputError("--memory-fraction", fraction, f"it is a number above 0, at most {MOST_FRACTION:g}")
    capacity = int(workload.total_bytes * fraction / pods) if fraction is not None else parse_bytes(pod_memory or "")
    largest = max(range(len(workload.names)), key=lambda n: workload.sizes_bytes[n])
    if workload.sizes_bytes[largest] > capacity:
        option = f"--pod-memory {pod_memory}" if fraction is None else f"--memory-fraction {fraction:g}, --pods {pods}"
        raise InvalidInputError(f"{option}: bytes of a pod", capacity, _needs(workload, largest, given["profiles"]))
    return capacity


def run_policies(workload: Workload, hardware: Hardware, names: Sequence[str], options: Options) -> list[Outcome]:
    """Play each policy, with a progress bar on standard error. The options are Larder's, its objectives everybody's."""
    columns = (TextColumn("{task.description:>22}"), BarColumn(), TimeElapsedColumn())
    objectives = options.objectives or parse_slo(STANDARD_SLO).objectives(workload)
    outcomes = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for name in names:
            task = progress.add_task(name, total=1.0)
            ledger = World(workload, hardware).run(
                LarderPolicy(workload, options) if name == "larder" else make_policy(name, workload),
                lambda done, task=task: progress.update(task, completed=done),  # type: ignore[misc]
            )
            progress.update(task, completed=1.0)
            outcomes.append(summarize(name, workload, ledger, objectives))
    return outcomes


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
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
@click.option("--pods", type=click.IntRange(1, MOST_PODS), default=4, show_default=True)
@click.option("--max-pods", type=click.IntRange(1, MOST_PODS), help="Larder starts with --pods, scales up to this.")
@click.option("--loads-at-once", type=click.IntRange(1), default=2, show_default=True, help="Per pod.")
@click.option("--arrivals", type=click.Choice([a.value for a in Arrivals]), default="even", show_default=True)
@click.option("--first-minute", type=click.IntRange(0), default=0, show_default=True)
@click.option("--minutes", type=click.IntRange(1), help="How many; default: to the end.")
@click.option("--slo", help=f"LATENCY[:COLDSTART], such as 5x:1.5x or 250ms:2s; default: {STANDARD_SLO}.")
@click.option("--policy", default="larder", show_default=True, help="Names separated by commas, or all.")
@click.option("--json", "json_file", type=FILE, help="Write one object a policy.")
@click.option("--csv", "csv_file", type=FILE, help="Write one line a policy.")
@click.option("--plot", "plot_file", type=FILE, help="Draw added latency (png, svg or pdf).")
def simulate(**given: object) -> None:
    """Play caching policies on a trace of requests, in virtual time.

    With --slo every model declares that objective, and Larder plans for it; without, Larder spares waiting alone.
    """
    try:
        outcomes = _simulate(given)
        print_table(outcomes, str(given["slo"] or f"the standard objectives, {STANDARD_SLO}"))
        write_all(_contents(given, outcomes))
    except InvalidInputError as error:
        click.echo(f"larder simulate: {error}", err=True)
        sys.exit(2)


def _contents(given: Mapping[str, object], outcomes: Sequence[Outcome]) -> dict[Path, bytes]:
    """Every file that was asked for, with what belongs in it."""
    contents = {}
    for key, render in (("json_file", as_json), ("csv_file", as_csv)):
        path = given[key]
        if isinstance(path, Path):
            contents[path] = render(outcomes)
    plot = given["plot_file"]
    if isinstance(plot, Path):
        contents[plot] = as_plot(outcomes, plot.suffix[1:])
    return contents


def _check_files(given: Mapping[str, object]) -> None:
    """Refuse before the run what could not be written after it."""
    taken: dict[Path, str] = {}
    for option in ("--json", "--csv", "--plot"):
        path = given[f"{option[2:]}_file"]
        if not isinstance(path, Path):
            continue
        check_writable(option, path)
        other = taken.setdefault(path.resolve(), option)
        if other != option:
            raise InvalidInputError(option, str(path), f"it is another file than that of {other}")
        if option == "--plot" and path.suffix[1:] not in PLOT_FORMATS:
            raise InvalidInputError(option, str(path), f"its name ends in one of .{', .'.join(PLOT_FORMATS)}")
        if option == "--plot" and find_spec("matplotlib") is None:
            raise InvalidInputError(option, str(path), "pip install 'larder-operator[plot]' first")


def larder_options(workload: Workload, slo: Slo | None, pods: int, max_pods: int | None) -> Options:
    """What Larder is told. Raises InvalidInputError when fewer pods are the most than the least."""
    if max_pods is None:
        return Options(objectives=slo.objectives(workload) if slo else None)
    if max_pods < pods:
        raise InvalidInputError("--max-pods", max_pods, f"it is at least --pods, which is {pods}")
    # Pods are asked for to hold an attainment, so there is none without objectives.
    objectives = (slo or parse_slo(STANDARD_SLO)).objectives(workload)
    return Options(objectives, target_attainment=TARGET_ATTAINMENT, least_pods=pods, most_pods=max_pods)


def _simulate(given: dict[str, object]) -> list[Outcome]:
    options: dict = given  # type: ignore[type-arg]
    names = _names(options["policy"])
    slo = None if options["slo"] is None else parse_slo(options["slo"])
    _check_files(options)
    keys = ("trace", "profiles", "assignment", "seed", "first_minute", "minutes")
    workload = load_workload(Source(**{k: options[k] for k in keys}, arrivals=Arrivals(options["arrivals"])))
    pods = options["pods"]
    capacity = pod_capacity(workload, pods, options)
    told = larder_options(workload, slo, pods, options["max_pods"])
    return run_policies(workload, Hardware(capacity, pods, options["loads_at_once"]), names, told)
