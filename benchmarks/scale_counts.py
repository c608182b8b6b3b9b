"""What a run at scale comes to: writes as the API server saw them, the operator's own times and memory, the bars."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

LEASES: Final = "leases"
PLAN: Final = "larder_plan_seconds"
DECISION: Final = "larder_cold_decision_seconds"


@dataclass(frozen=True, slots=True)
class Write:
    """One request of the operator that changes something, by Unix time; `what` is resource, subresource and verb."""

    at_seconds: float
    what: str


@dataclass(slots=True)
class Audit:
    """The API server's audit log of the operator's writes, read on."""

    path: Path
    writes: list[Write] = field(default_factory=list)
    _offset: int = 0

    def between(self, begin_seconds: float, end_seconds: float) -> list[Write]:
        """The writes that began within these Unix times."""
        self._read()
        return [write for write in self.writes if begin_seconds <= write.at_seconds < end_seconds]

    def _read(self) -> None:
        with self.path.open("rb") as log:
            log.seek(self._offset)
            whole, _, _ = log.read().rpartition(b"\n")
        if whole:
            self._offset += len(whole) + 1
            self.writes += [parse_write(line) for line in whole.splitlines()]


def parse_write(line: bytes) -> Write:
    """Read one line of an audit log."""
    event = json.loads(line)
    what, at = event["objectRef"], datetime.fromisoformat(event["requestReceivedTimestamp"])
    resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
    return Write(at.timestamp(), f"{resource} {event['verb']}")


def spelled(writes: Sequence[Write]) -> str:
    """How many writes of which kind, most first."""
    return ", ".join(f"{count} {what}" for what, count in Counter(write.what for write in writes).most_common())


def without_leases(writes: Sequence[Write]) -> list[Write]:
    """The writes that are not renewals of the leader's Lease, which go on whatever happens."""
    return [write for write in writes if not write.what.startswith(LEASES)]


@dataclass(frozen=True, slots=True)
class Times:
    """What the operator took for something, as its histogram counts it: seconds up to which so many were done."""

    count: float
    total_seconds: float
    up_to: tuple[tuple[float, float], ...] = ()

    def since(self, before: "Times") -> "Times":
        """What was added."""
        earlier = dict(before.up_to)
        added = tuple((edge, count - earlier.get(edge, 0.0)) for edge, count in self.up_to)
        return Times(self.count - before.count, self.total_seconds - before.total_seconds, added)

    @property
    def mean_ms(self) -> float:
        """The mean in ms; not a number where none was done."""
        return 1000.0 * self.total_seconds / self.count if self.count else math.nan

    @property
    def longest_at_most_seconds(self) -> float:
        """The edge of the histogram that all of them are within."""
        return self.at_most_seconds(1.0)

    def at_most_seconds(self, share: float) -> float:
        """The edge of the histogram that so large a share of them is within."""
        return next((edge for edge, count in self.up_to if count >= share * self.count), math.inf)


def times(page: str, name: str) -> Times:
    """What a page of the operator's metrics tells of one histogram."""
    count = total = 0.0
    up_to: dict[float, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples if family.name == name else ():
            if sample.name.endswith("_count"):
                count += sample.value
            elif sample.name.endswith("_sum"):
                total += sample.value
            elif sample.name.endswith("_bucket"):
                edge = float(sample.labels["le"])
                up_to[edge] = up_to.get(edge, 0.0) + sample.value
    return Times(count, total, tuple(sorted(up_to.items())))


@dataclass(frozen=True, slots=True)
class Figures:
    """The outcome of one run."""

    models: int
    pods: int
    rss_mb: float
    start_seconds: float
    idle_writes_per_second: float
    writes_per_change: float
    cold_decision_p99_ms: float
    plan_ms: float
    """The mean; the longest is within `longest_plan_seconds`."""
    longest_plan_seconds: float
    index_reads: int
    """The most that any one pod was asked for its whole index since the operator started."""

    @property
    def line(self) -> str:
        """The last line of the benchmark."""
        return (
            f"scale: models={self.models} pods={self.pods} rss_mb={self.rss_mb:.0f} "
            f"start_seconds={self.start_seconds:.1f} idle_writes_per_second={self.idle_writes_per_second:.2f} "
            f"writes_per_change={self.writes_per_change:.2f} cold_decision_p99_ms={self.cold_decision_p99_ms:.1f} "
            f"plan_ms={self.plan_ms:.0f}"
        )

    def missed(self) -> list[str]:
        """The bars that were missed, each in a sentence. What is not a number is missed."""
        bars = (
            ("MB of memory at the most", self.rss_mb, 500.0),
            ("s from start to the first plan with every pod in it", self.start_seconds, 10.0),
            ("API writes a second while nothing changes", self.idle_writes_per_second, 1.0),
            ("API writes a change of placements", self.writes_per_change, 6.0),
            ("ms to decide a cold request, at p99", self.cold_decision_p99_ms, 20.0),
            ("s for the longest of the full plans, at most", self.longest_plan_seconds, 1.0),
            ("reads of one pod's whole index within five minutes", float(self.index_reads), 1.0),
        )
        return [f"{value:.4g} {what}; the bar is {bar:g}" for what, value, bar in bars if not value <= bar]
