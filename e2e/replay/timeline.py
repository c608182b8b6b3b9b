"""A run in equal steps of time: what was asked, what came of it, and what the pool looked like. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.table import Table

from e2e.replay.playing import Played
from e2e.replay.run import Seen
from e2e.replay.verdict import is_met
from e2e.replay.watching import Sample
from larder.core.snapshot import Objective


@dataclass(frozen=True, slots=True)
class Step:
    """One step. What was not seen in it is None."""

    from_seconds: float
    to_seconds: float
    requests: int
    cold: int
    met: int
    last: Sample | None

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / (self.to_seconds - self.from_seconds)

    @property
    def attainment(self) -> float | None:
        """The share of requests that met their objective; None where nothing was asked."""
        return self.met / self.requests if self.requests else None


def resizings(samples: Sequence[Sample]) -> tuple[tuple[float, str], ...]:
    """When the pool was seen to have another number of pods that stay, and what it said of it then."""
    pairs = pairwise(samples)
    return tuple((two.at_seconds, two.why) for one, two in pairs if one.pods - one.going != two.pods - two.going)


def clock(seconds: float) -> str:
    """Return `2:05` for 125 seconds."""
    return f"{int(seconds) // 60}:{int(seconds % 60):02}"


def steps(seen: Seen, seconds: float, count: int, objectives: Sequence[Objective]) -> tuple[Step, ...]:
    """Cut a run of so many seconds into `count` steps."""
    width, found = seconds / count, []
    for n in range(count):
        begin, end = n * width, (n + 1) * width
        within = [
            one for one in seen.played if begin <= one.due_seconds < end or (n == count - 1 and one.due_seconds >= end)
        ]
        looks = [s for s in seen.samples if begin <= s.at_seconds < end]
        found.append(_step(begin, end, within, looks[-1] if looks else None, objectives))
    return tuple(found)


def _step(
    begin: float, end: float, within: Sequence[Played], last: Sample | None, objectives: Sequence[Objective]
) -> Step:
    met = sum(is_met(one, objectives) for one in within)
    return Step(begin, end, len(within), sum(one.is_cold for one in within), met, last)


def table(found: Sequence[Step], compression: float, first_minute: int) -> Table:
    """Return the timeline as a table."""
    made = Table(title="Timeline", title_justify="left")
    for column in ("time", "trace", "requests/s", "cold", "attained", "resident", "copies", "memory MiB", "pods"):
        made.add_column(column, justify="right")
    for step in found:
        minute = first_minute + step.from_seconds * compression / 60.0
        attained = "-" if step.attainment is None else f"{step.attainment:.1%}"
        made.add_row(
            clock(step.from_seconds),
            f"{int(minute) // 60:02}:{int(minute) % 60:02}",
            f"{step.per_second:.1f}",
            str(step.cold),
            attained,
            *_pool(step.last),
        )
    return made


def _pool(sample: Sample | None) -> tuple[str, ...]:
    if sample is None:
        return ("-",) * 4
    memory = "-"
    if sample.used_bytes is not None and sample.budget_bytes is not None:
        memory = f"{sample.used_bytes / 2**20:.0f}/{sample.budget_bytes / 2**20:.0f}"
    pods = f"{sample.ready}" if sample.ready == sample.pods else f"{sample.ready}/{sample.pods}"
    return str(sample.resident), str(sample.copies), memory, pods
