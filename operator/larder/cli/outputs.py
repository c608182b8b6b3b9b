"""What `larder simulate` shows: a table, JSON, CSV and a plot of the figures of each policy."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

PLOT_FORMATS = ("png", "svg", "pdf")


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


def print_table(outcomes: Sequence[Outcome], slo: str) -> None:
    """The readable table."""
    table = Table(title=None, caption=f"attainment: the share of requests that met {slo}", caption_justify="left")
    headers = ("policy", "added latency", "cold share", "cold model-min", "attainment", "loads", "evictions")
    for n, header in enumerate((*headers, "wasted prefetches", "pod-hours")):
        table.add_column(header, justify="left" if n == 0 else "right")
    for o in outcomes:
        shares = (f"{o.added_latency_seconds:,.0f} s", f"{o.cold_share:.2%}", f"{o.cold_model_minutes:,}")
        counts = (f"{o.loads:,}", f"{o.evictions:,}", f"{o.wasted_prefetches:,}", f"{o.pod_hours:,.1f}")
        table.add_row(o.policy, *shares, f"{o.attainment:.3%}", *counts)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def as_json(outcomes: Sequence[Outcome]) -> bytes:
    """One object a policy, in base units."""
    return (json.dumps([asdict(o) for o in outcomes], indent=2) + "\n").encode()


def as_csv(outcomes: Sequence[Outcome]) -> bytes:
    """One line a policy, in base units."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(asdict(outcomes[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(o) for o in outcomes)
    return text.getvalue().encode()


def as_plot(outcomes: Sequence[Outcome], file_format: str) -> bytes:
    """Bars of added latency, best first, Larder's in colour. The format is one of PLOT_FORMATS."""
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
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format=file_format)
    return picture.getvalue()
