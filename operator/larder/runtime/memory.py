"""What a new leader remembers of a Model and of a pool: what the one before wrote into their status."""

from typing import Any

from larder.api.quantities import parse_time
from larder.api.resources import Manifest, Model
from larder.api.status import Decision
from larder.core.snapshot import Measured
from larder.errors import InvalidInputError
from larder.runtime.books import ModelBook


def remembered(model: Model, now_seconds: float) -> ModelBook:
    """Begin a Model's book. Measured times are as rounded as the status has them, and count as one sample."""
    return ModelBook(
        load_seconds=_measured(model.status.get("loadSeconds"), now_seconds),
        execution_seconds=_measured(model.status.get("executionSeconds"), now_seconds),
        last_decision=last_decision(model.status),
    )


def last_decision(status: Manifest) -> Decision | None:
    """Return the last decision that a status tells; None where it tells none, or none that can be read."""
    told: Any = status.get("lastDecision")
    try:
        return Decision(
            at_seconds=parse_time("lastDecision.time", told["time"]),
            action=str(told["action"]),
            reason=str(told["reason"]),
            message=str(told.get("message", "")),
            model=told.get("model"),
            pod=told.get("pod"),
        )
    except (TypeError, KeyError, AttributeError, InvalidInputError):
        return None


def _measured(seconds: object, now_seconds: float) -> Measured | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return Measured(float(seconds), 0.0, 1, now_seconds)
