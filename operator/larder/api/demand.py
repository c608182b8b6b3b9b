"""The demand stream's messages: JSON objects on a WebSocket between the leading operator and one activator.

Gateway to operator: `Waiting` (what has to be loaded for what waits, whole each time something changed), `Seen` (per
pod uid, the newest (term, generation) of residency that Envoy goes by), `Counts` (once a second, models that changed)
and `Dead` (a copy whose own process has ended).
Operator to gateway: `Hint` (a residency record that the annotation will carry a moment later), `Failure` (why a model
cannot be had now) and `Prediction` (when one that is waited for is expected to be ready). On connection each side
first sends its present state whole.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from larder.api.residency import Residency, decode, encode
from larder.errors import InvalidInputError

PATH = "/v1/demand"


@dataclass(frozen=True, slots=True)
class WaitingModel:
    """Held cold requests of one model. Times are ages and remainders, so that clocks need not agree."""

    count: int
    oldest_age_seconds: float
    deadline_in_seconds: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """All that waits at this gateway now; a model not named has nothing waiting."""

    models: Mapping[str, WaitingModel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """Which residency of which pod (by uid) this gateway routes by: (term, generation)."""

    pods: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCount:
    """Requests since the last message and requests in flight now (None: not known).

    `met` and `missed`: of the requests that ended, those within the Model's objective and those that were not; None
    where the gateway does not tell or the Model has no objective. Client errors and cancellations are in neither.
    """

    requests: int
    in_flight: int | None = None
    met: int | None = None
    missed: int | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of the models that changed, over the last `interval_seconds`."""

    interval_seconds: float
    models: Mapping[str, ModelCount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hint:
    """A residency record of the pod with this uid, ahead of its annotation."""

    pod_uid: str
    residency: Residency


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a model can't be had: waiting requests are answered 503 with this sentence and Retry-After."""

    model: str
    message: str
    retry_after_seconds: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """When a model that is waited for is expected to be ready: who can't wait so long is told at once. 0: it is off."""

    model: str
    ready_in_seconds: float


@dataclass(frozen=True, slots=True)
class Dead:
    """Triton on this pod says that the model's own process has ended: it fails every request until it is reloaded."""

    model: str
    pod_uid: str


Message = Waiting | Seen | Counts | Dead | Hint | Failure | Prediction


def encode_message(message: Message) -> str:
    """Return the message as one JSON object with its `type`."""
    match message:
        case Waiting(models):
            body: dict[str, object] = {
                "models": {k: [w.count, w.oldest_age_seconds, w.deadline_in_seconds] for k, w in models.items()}
            }
        case Seen(pods):
            body = {"pods": {uid: list(version) for uid, version in pods.items()}}
        case Counts(interval, models=counts):
            listed = {k: [c.requests, c.in_flight, c.met, c.missed] for k, c in counts.items()}
            body = {"interval": interval, "models": listed}
        case Dead(model, uid):
            body = {"model": model, "pod": uid}
        case Hint(uid, residency):
            body = {"pod": uid, "residency": encode(residency)}
        case Failure(model, text, retry_after):
            body = {"model": model, "message": text, "retryAfter": retry_after}
        case Prediction(model, ready_in):
            body = {"model": model, "readyIn": ready_in}
    return json.dumps({"type": type(message).__name__, **body}, separators=(",", ":"))


def decode_message(text: str) -> Message:
    """Parse one message. Raises InvalidInputError when it is none of the six."""
    try:
        return _decode(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError("demand stream message", text[:80], "see larder.api.demand") from error


def _decode(body: dict[str, object]) -> Message:  # noqa: PLR0911 (a table of types)
    fields: dict = body  # type: ignore[type-arg]
    match fields["type"]:
        case "Waiting":
            return Waiting({k: WaitingModel(int(n), float(a), float(d)) for k, (n, a, d) in fields["models"].items()})
        case "Seen":
            return Seen({uid: (int(t), int(g)) for uid, (t, g) in fields["pods"].items()})
        case "Counts":
            return Counts(float(fields["interval"]), {k: _count(*values) for k, values in fields["models"].items()})
        case "Dead":
            return Dead(str(fields["model"]), str(fields["pod"]))
        case "Hint":
            return Hint(str(fields["pod"]), decode(fields["residency"]))
        case "Failure":
            return Failure(str(fields["model"]), str(fields["message"]), float(fields["retryAfter"]))
        case "Prediction":
            return Prediction(str(fields["model"]), float(fields["readyIn"]))
        case other:
            raise ValueError(f"unknown type {other!r}")


def _count(requests: int, *others: int | None) -> ModelCount:
    """A gateway of another release may tell fewer numbers, or more."""
    return ModelCount(int(requests), *(None if other is None else int(other) for other in others[:3]))
