"""The figures of a phase: counted while it runs, kept as JSON, added up at the end. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from e2e.churn.outcome import Outcome, Verdict
from e2e.churn.plan import Plan

COMPLAINTS_KEPT: Final = 200


@dataclass(slots=True)
class Tally:
    """Counts of one phase. `loads` are the loads that answered, `*_ms` the latencies of right answers."""

    name: str
    requests: int = 0
    failed: int = 0
    wrong: int = 0
    retried: int = 0
    seconds: float = 0.0
    hot_ms: list[float] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)
    loads: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    trouble: str = ""
    """Why the phase's event did not go as planned; empty: it did."""

    def add(self, outcome: Outcome) -> None:
        """Count one request."""
        self.requests += 1
        if outcome.verdict is Verdict.RIGHT and outcome.answer is not None:
            self.loads.add(outcome.answer.load)
            latencies = self.cold_ms if outcome.is_cold else self.hot_ms
            latencies.append(round(outcome.latency_seconds * 1000, 1))
            return
        self.failed += outcome.verdict is Verdict.FAILED
        self.wrong += outcome.verdict is Verdict.WRONG
        if len(self.complaints) < COMPLAINTS_KEPT:
            self.complaints.append(outcome.describe())

    @property
    def cold_share(self) -> float | None:
        """Cold requests among those that were answered right; None where there is none."""
        answered = len(self.hot_ms) + len(self.cold_ms)
        return len(self.cold_ms) / answered if answered else None

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {**asdict(self), "loads": sorted(self.loads)}


def from_json(kept: dict[str, Any]) -> Tally:
    """Return a tally that was kept."""
    return Tally(**{**kept, "loads": set(kept["loads"])})


def total(tallies: Iterable[Tally]) -> Tally:
    """Add tallies up; a load that answered in two phases is one load."""
    summed = Tally("all")
    for tally in tallies:
        summed.requests += tally.requests
        summed.failed += tally.failed
        summed.wrong += tally.wrong
        summed.retried += tally.retried
        summed.seconds += tally.seconds
        summed.hot_ms += tally.hot_ms
        summed.cold_ms += tally.cold_ms
        summed.loads |= tally.loads
    return summed


def quantile(values: Sequence[float], part: float) -> float | None:
    """Return the smallest value that so large a part of them does not exceed; None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def shortfalls(summed: Tally, plan: Plan) -> Iterator[str]:
    """Yield what a run has too little of."""
    if summed.requests < plan.requests:
        yield f"{summed.requests} requests, not {plan.requests}"
    if len(summed.loads) < plan.loads:
        yield f"{len(summed.loads)} loads, not {plan.loads}"
    if (summed.cold_share or 0.0) < plan.cold_share:
        yield f"less than {plan.cold_share:.0%} of the requests were cold"


def last_line(summed: Tally) -> str:
    """Return the line that a run ends with."""
    cold = "none" if summed.cold_share is None else f"{summed.cold_share:.1%}"
    return (
        f"churn: requests={summed.requests} loads={len(summed.loads)} cold={cold} "
        f"failed={summed.failed} wrong={summed.wrong}"
    )
