"""What the figures of a run and of its simulation say about each other. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from e2e.replay.plan import ATTAINMENT_POINTS, COLD_RELATIVE, FEASIBLE_SHARE, POD_SECONDS_RELATIVE
from e2e.replay.playing import Played
from e2e.replay.run import Seen
from e2e.replay.simulated import Figures, Fixed
from larder.core.snapshot import Objective


@dataclass(frozen=True, slots=True)
class Verdict:
    """A run, judged against what would have been possible and what was foretold."""

    requests: int
    failed: int
    seen: Figures
    foretold: Figures
    feasible: float
    fixed: Fixed

    def last_line(self) -> str:
        """Return the line that a run ends with."""
        return (
            f"replay: requests={self.requests} failed={self.failed} attainment={self.seen.attainment:.4f} "
            f"feasible={self.feasible:.4f} pod_seconds={self.seen.pod_seconds:.0f} "
            f"static_pod_seconds={self.fixed.pod_seconds:.0f}"
        )

    def shortfalls(self) -> Iterator[str]:
        """Yield what does not hold, but for failed requests."""
        seen, foretold = self.seen, self.foretold
        if seen.attainment < FEASIBLE_SHARE * self.feasible:
            yield f"attainment {seen.attainment:.4f} is below {FEASIBLE_SHARE:g} of the feasible {self.feasible:.4f}"
        if seen.pod_seconds >= self.fixed.pod_seconds:
            yield f"{seen.pod_seconds:.0f} pod-seconds are no fewer than {self.fixed.pod_seconds:.0f} of a fixed number"
        if abs(seen.attainment - foretold.attainment) > ATTAINMENT_POINTS:
            yield f"attainment is off by more than {ATTAINMENT_POINTS * 100:g} points"
        if off(seen.cold_share, foretold.cold_share) > COLD_RELATIVE:
            yield f"the cold share is off by more than {COLD_RELATIVE:.0%}"
        if off(seen.pod_seconds, foretold.pod_seconds) > POD_SECONDS_RELATIVE:
            yield f"pod-seconds are off by more than {POD_SECONDS_RELATIVE:.0%}"


def off(seen: float, foretold: float) -> float:
    """How far a figure is from what was foretold, as a share of the figure itself."""
    return 0.0 if seen == foretold else abs(seen - foretold) / max(seen, 1e-9)


def is_met(one: Played, objectives: Sequence[Objective]) -> bool:
    """Whether the right answer came in time; a cold request has its longest cold start on top."""
    objective = objectives[one.model]
    if not one.is_right or objective.latency_seconds is None:
        return one.is_right
    more = (objective.cold_start_seconds or 0.0) if one.is_cold else 0.0
    return one.latency_seconds <= objective.latency_seconds + more


def figures(seen: Seen, objectives: Sequence[Objective]) -> Figures:
    """What the run on the cluster came to, by its clients' clocks."""
    asked = max(1, len(seen.played))
    return Figures(
        sum(is_met(one, objectives) for one in seen.played) / asked,
        sum(one.is_cold for one in seen.played) / asked,
        len({one.load for one in seen.played if one.load}),
        seen.pod_seconds,
    )
