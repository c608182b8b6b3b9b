"""What a new leader remembers of a Model and of a pool: what the one before wrote into their status."""

import re
from typing import Any, Final

from larder.api.conditions import Condition, ConditionReason, ModelCondition, from_status
from larder.api.quantities import parse_bytes, parse_time
from larder.api.resources import Manifest, Model
from larder.api.status import Decision
from larder.core.snapshot import Measured
from larder.errors import InvalidInputError
from larder.runtime.books import Footprint, LoadFailure, ModelBook

_TRIED: Final = re.compile(r" \(tried (\d+) times\)$")


def remembered(model: Model, now_seconds: float) -> ModelBook:
    """Begin a Model's book. Measured times are as rounded as the status has them, and count as one sample."""
    return ModelBook(
        failure=_failure(model, now_seconds),
        load_seconds=_measured(model.status.get("loadSeconds"), now_seconds),
        execution_seconds=_measured(model.status.get("executionSeconds"), now_seconds),
        last_decision=last_decision(model.status),
        footprint=_footprint(model),
    )


def _footprint(model: Model) -> Footprint | None:
    """What copies of the present revision were seen to take, as the status tells it."""
    try:
        return Footprint(model.revision, parse_bytes("status.memory", model.status["memory"]))
    except (KeyError, InvalidInputError):
        return None


def tried(failure: LoadFailure) -> str:
    """What the condition Loaded says of a failure."""
    return f"{failure.message} (tried {failure.attempts} times)" if failure.attempts > 1 else failure.message


def missing_members(names: tuple[str, ...]) -> str:
    """What the condition MembersDeclared says of members that nobody declares."""
    return f"members of the ensemble are not declared as Models: {', '.join(names)}"


def _failure(model: Model, now_seconds: float) -> LoadFailure | None:
    """The failure that the condition Loaded tells of the present spec. The load was decided when the last decision
    was, so the pause goes on from then.
    """
    found = {c.type: c for c in from_status(model.status) if c.observed_generation == model.meta.generation}
    loaded = found.get(ModelCondition.LOADED)
    if loaded is None or loaded.status is not False:
        return None
    decision, times = last_decision(model.status), _TRIED.search(loaded.message)
    return LoadFailure(
        message=_TRIED.sub("", loaded.message),
        at_seconds=min(decision.at_seconds if decision else loaded.last_transition_seconds, now_seconds),
        attempts=int(times[1]) if times else 1,
        spec=(model.meta.uid, model.meta.generation),
        reload=loaded.reason == ConditionReason.RELOAD_FAILED,
        missing_members=_named(found.get(ModelCondition.MEMBERS_DECLARED)),
    )


def _named(condition: Condition | None) -> tuple[str, ...]:
    """The members that `missing_members` named; none where all are declared."""
    if condition is None or condition.status is not False:
        return ()
    return tuple(condition.message.removeprefix(missing_members(())).split(", "))


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
