"""Which requests of a finished run met their objective: waiting for a copy, queueing at the copies, execution."""

from dataclasses import dataclass

from larder.core.simulation.workload import Workload
from larder.core.simulation.world import ColdBatch, Ledger
from larder.core.snapshot import Objective

LATENCY_FACTOR = 5.0
COLD_FACTORS = (1.5, 3.0, None)


@dataclass(slots=True)
class _Copy:
    ready_seconds: float
    gone_seconds: float
    free_seconds: float


def standard_objectives(workload: Workload) -> tuple[Objective, ...]:
    """Latency 5 x execution time at the 99th percentile; longest cold start, over models sorted by name, in turn
    1.5 x load time, 3 x load time, none (then a cold request has no more time than a hot one).
    """
    objectives: dict[str, Objective] = {}
    rows = zip(workload.names, workload.load_seconds, workload.execution_seconds, strict=True)
    for n, (name, load, execution) in enumerate(sorted(rows)):
        factor = COLD_FACTORS[n % len(COLD_FACTORS)]
        objectives[name] = Objective(LATENCY_FACTOR * execution, 99.0, None if factor is None else factor * load)
    return tuple(objectives[name] for name in workload.names)


def attained(workload: Workload, ledger: Ledger, objectives: tuple[Objective, ...]) -> float:
    """The share of all requests that met their objective; one request at a time on each copy, first come, first
    served at the copy that is free first. Requests never served count as missed.
    """
    residences: list[list[_Copy]] = [[] for _ in workload.names]
    for model, _, ready, gone in sorted(ledger.residences, key=lambda r: r[2]):
        residences[model].append(_Copy(ready, gone, ready))
    met = 0
    for model, times in enumerate(workload.arrivals):
        execution = workload.execution_seconds[model]
        met += _met(times.tolist(), residences[model], ledger.batches[model], execution, objectives[model])
    return met / max(1, workload.requests)


def _met(
    arrivals: list[float],
    copies: list[_Copy],
    batches: list[ColdBatch],
    execution_seconds: float,
    objective: Objective,
) -> int:
    hot_limit = float("inf") if objective.latency_seconds is None else objective.latency_seconds
    cold_limit = hot_limit + (objective.cold_start_seconds or 0.0)
    met, first, batch = 0, 0, 0
    for n, arrival in enumerate(arrivals):
        while batch < len(batches) and n >= batches[batch].last:
            batch += 1
        cold = batch < len(batches) and n >= batches[batch].first
        ready = batches[batch].ready_seconds if cold else arrival
        while first < len(copies) and copies[first].gone_seconds < arrival:
            first += 1
        best = _pick(copies, first, ready)
        if best is None:
            continue
        best.free_seconds = max(ready, best.free_seconds) + execution_seconds
        met += best.free_seconds - arrival <= (cold_limit if cold else hot_limit) + 1e-9
    return met


def _pick(copies: list[_Copy], first: int, at_seconds: float) -> _Copy | None:
    best = None
    for copy in copies[first:]:
        if copy.ready_seconds > at_seconds:
            break
        if copy.gone_seconds >= at_seconds and (best is None or copy.free_seconds < best.free_seconds):
            best = copy
    return best
