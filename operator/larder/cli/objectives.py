"""`--slo LATENCY[:COLDSTART]`: the objective of every model, as multiples of what it costs or as durations."""

import re
from dataclasses import dataclass

from larder.core.simulation.workload import Workload
from larder.core.snapshot import Objective
from larder.errors import InvalidInputError

OPTION = "--slo"
STANDARD_SLO = "5x:1.5x,3x,none"
"""What attainment means unless something else is asked for; the same as `standard_objectives`."""
ALLOWED = "it is LATENCY or LATENCY:COLDSTART, each a multiple such as 5x or a duration such as 250ms, 2s or 1m30s"
_MULTIPLE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)x", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limit:
    """A time: `seconds`, or `factor` times what the model takes. Exactly one is given, and above 0."""

    factor: float | None = None
    seconds: float | None = None

    def of(self, own_seconds: float) -> float:
        """The limit in seconds for a model that takes `own_seconds`."""
        return self.seconds if self.seconds is not None else (self.factor or 0.0) * own_seconds


@dataclass(frozen=True, slots=True)
class Slo:
    """Latency in executions; longest cold starts in loads, dealt in turn to the models sorted by name (None: none)."""

    latency: Limit
    cold_starts: tuple[Limit | None, ...]

    def objectives(self, workload: Workload) -> tuple[Objective, ...]:
        """The objective of each model of the workload, in its order."""
        ranks = {name: n for n, name in enumerate(sorted(workload.names))}
        found = []
        rows = zip(workload.names, workload.load_seconds, workload.execution_seconds, strict=True)
        for name, load, execution in rows:
            cold = self.cold_starts[ranks[name] % len(self.cold_starts)]
            found.append(Objective(self.latency.of(execution), 99.0, None if cold is None else cold.of(load)))
        return tuple(found)


def parse_slo(text: str) -> Slo:
    """Parse `LATENCY[:COLDSTART[,COLDSTART...]]`, where a cold start may be `none`. Raises InvalidInputError."""
    latency, colon, cold = text.partition(":")
    parts = cold.split(",") if colon else ["none"]
    return Slo(_limit(text, latency), tuple(None if part.strip() == "none" else _limit(text, part) for part in parts))


def _limit(text: str, part: str) -> Limit:
    part = part.strip()
    multiple = _MULTIPLE.fullmatch(part)
    if multiple and float(multiple[1]) > 0.0:
        return Limit(factor=float(multiple[1]))
    if multiple or not part[:1].isdigit():
        raise InvalidInputError(OPTION, text, ALLOWED)
    from larder.api.quantities import parse_seconds  # noqa: PLC0415 (the larder command starts fast without)

    try:
        return Limit(seconds=parse_seconds(OPTION, part))
    except InvalidInputError as error:
        raise InvalidInputError(OPTION, text, ALLOWED) from error
