"""From files to a workload: a trace, the profiles of models, and which model each function is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from larder.cli.tables import Profile, Trace, read_assignment, read_profiles, read_trace
from larder.core.simulation.workload import MINUTE_SECONDS, Arrivals, Workload, spread
from larder.errors import InvalidInputError

MOST_NAMED = 8
"""Models listed in an error."""
MOST_REQUESTS = 20_000_000
"""Of a whole run: each takes about a hundred bytes."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a workload comes from, as given on the command line."""

    trace: Path
    profiles: Path
    assignment: str | None = None
    seed: int = 0
    arrivals: Arrivals = Arrivals.EVEN
    first_minute: int = 0
    minutes: int | None = None


def load_workload(source: Source) -> Workload:
    """Read the files and lay the requests out in time. Raises InvalidInputError."""
    trace, profiles = read_trace(source.trace), read_profiles(source.profiles)
    models = _assign(source, trace, profiles)
    costs = [profiles[model] for model in models]
    start, span = source.first_minute, source.minutes
    if trace.counts is not None:
        counts = trace.counts[:, start : None if span is None else start + span]
        _check_total(source.trace, int(counts.sum()))
        arrivals = spread(counts, source.arrivals, np.random.default_rng(source.seed))
        duration = counts.shape[1] * MINUTE_SECONDS
    else:
        arrivals, duration = _cut(trace, start * MINUTE_SECONDS, span)
    if not any(len(times) for times in arrivals):
        raise InvalidInputError(f"trace {source.trace}", f"minutes {start} to {span or 'end'}", "it holds no request")
    return Workload(
        trace.names,
        tuple(cost.size_bytes for cost in costs),
        tuple(cost.load_seconds for cost in costs),
        tuple(cost.execution_seconds for cost in costs),
        arrivals,
        duration,
    )


def _check_total(trace: Path, requests: int) -> None:
    if requests > MOST_REQUESTS:
        allowed = f"at most {MOST_REQUESTS} can be played; choose fewer minutes"
        raise InvalidInputError(f"trace {trace}: requests", requests, allowed)


def _cut(trace: Trace, start_seconds: float, minutes: int | None) -> tuple[tuple[np.ndarray, ...], float]:
    times = trace.times or ()
    last = max((float(t[-1]) for t in times if len(t)), default=0.0)
    # An idle minute after the last event, so that the loads it began are seen to their end.
    end = last + MINUTE_SECONDS if minutes is None else start_seconds + minutes * MINUTE_SECONDS
    return tuple(t[(t >= start_seconds) & (t < end)] - start_seconds for t in times), end - start_seconds


def _assign(source: Source, trace: Trace, profiles: dict[str, Profile]) -> list[str]:
    file = ""
    if source.assignment is not None:
        file, _, column = source.assignment.rpartition(":")
        if not file or not column:
            raise InvalidInputError("--assignment", source.assignment, "it is FILE:COLUMN")
        chosen = read_assignment(Path(file), column)
        models = [chosen.get(entry.name, entry) for entry in trace.entries]
    elif trace.times is not None or all(name in profiles for name in trace.names):
        models = list(trace.entries)
    else:
        drawn = np.random.default_rng(source.seed).choice(sorted(profiles), len(trace.entries))
        return [str(model) for model in drawn]
    for model, entry in zip(models, trace.entries, strict=True):
        if model.name not in profiles:
            known = ", ".join(list(profiles)[:MOST_NAMED]) + (", ..." if len(profiles) > MOST_NAMED else "")
            # What stands for itself was looked for in the assignment first.
            assigned = f"a function of {file}, or " if file and model is entry else ""
            raise InvalidInputError(model.where, model.name, f"it is {assigned}a model of {source.profiles}: {known}")
    return [model.name for model in models]
