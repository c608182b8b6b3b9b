"""A part of a trace with its time compressed: one workload, for the cluster and for the simulator. Pure but for files.

Everything that takes time takes it `compression` times faster: gaps between requests, loads, executions, and what the
operator is told in minutes (its forecast's interval, how long a number of pods is kept). Bytes are divided too, so that
many models fit on a small machine; what a process takes by itself comes on top.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from larder.cli.tables import Profile, Trace, read_assignment, read_profiles, read_trace
from larder.core.simulation.workload import MINUTE_SECONDS, Arrivals, Workload, spread

ROOT: Final = Path(__file__).resolve().parents[2]
SHARED: Final = ROOT.parent / "shared"
SMALL: Final = ROOT / "benchmarks" / "data"
MIB: Final = 2**20
PROCESS_MIB: Final = 21
"""What a model's process takes beside the memory that it is told to hold."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is taken of a trace: minutes, and so many models drawn from those that are asked for at all in them."""

    first_minute: int
    minutes: int
    compression: float
    models: int
    seed: int = 1
    memory_divisor: float = 4.0

    @property
    def seconds(self) -> float:
        """How long it takes to play."""
        return self.minutes * MINUTE_SECONDS / self.compression

    @property
    def interval_seconds(self) -> float:
        """A minute of the trace."""
        return MINUTE_SECONDS / self.compression


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The workload in the time of the run, and where it comes from in words. `held_mib`: what each model is to hold."""

    source: str
    cut: Cut
    workload: Workload
    held_mib: tuple[int, ...]


def read(cut: Cut, shared: Path = SHARED) -> Excerpt:
    """Return the excerpt of the shared trace where it is, else of the small one in the repository."""
    traces = shared / "traces"
    if traces.is_dir():
        trace = read_trace(traces / "azure2019_200fn_1day_inv.csv")
        profiles = read_profiles(shared / "profiles" / "image_models_26.csv")
        drawn = read_assignment(traces / "azure2019_200fn_models.csv", "draw1")
        return taken(cut, "Azure Functions 2019, 200 functions", trace, [profiles[drawn[n].name] for n in trace.names])
    trace, profiles = read_trace(SMALL / "small_trace.csv"), read_profiles(SMALL / "small_profiles.csv")
    every = list(profiles.values())
    dealt = [every[n % len(every)] for n in range(len(trace.names))]
    return taken(cut, "the repository's small trace (../shared/traces is not there)", trace, dealt)


def taken(cut: Cut, source: str, trace: Trace, profiles: list[Profile]) -> Excerpt:
    """Cut the trace; a trace with fewer minutes begins again, one with fewer functions gives all it has."""
    assert trace.counts is not None, "a trace of counts"
    span = (cut.first_minute + np.arange(cut.minutes)) % trace.counts.shape[1]
    chosen = _chosen(trace.counts[:, span], cut)
    counts = trace.counts[chosen][:, span]
    costs = [profiles[n] for n in chosen]
    held = tuple(max(1, round(cost.size_bytes / cut.memory_divisor / MIB)) for cost in costs)
    slow = Workload(
        names=tuple(f"m{rank:02}-{_plain(trace.names[n])[:8]}" for rank, n in enumerate(chosen)),
        sizes_bytes=tuple((mib + PROCESS_MIB) * MIB for mib in held),
        load_seconds=tuple(cost.load_seconds for cost in costs),
        execution_seconds=tuple(cost.execution_seconds for cost in costs),
        arrivals=spread(counts, Arrivals.EVEN, np.random.default_rng(cut.seed)),
        duration_seconds=cut.minutes * MINUTE_SECONDS,
    )
    return Excerpt(source, cut, compressed(slow, cut.compression), held)


def compressed(slow: Workload, by: float) -> Workload:
    """The same workload so many times faster."""
    return replace(
        slow,
        load_seconds=tuple(seconds / by for seconds in slow.load_seconds),
        execution_seconds=tuple(seconds / by for seconds in slow.execution_seconds),
        arrivals=tuple(times / by for times in slow.arrivals),
        duration_seconds=slow.duration_seconds / by,
    )


def _chosen(counts: NDArray[np.int64], cut: Cut) -> list[int]:
    """Functions that are asked for, drawn by the seed, in the order of the trace."""
    asked = np.nonzero(counts.sum(axis=1) > 0)[0]
    drawn = np.random.default_rng(cut.seed).permutation(asked)[: cut.models]
    return sorted(int(n) for n in drawn)


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
