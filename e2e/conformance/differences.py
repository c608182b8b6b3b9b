"""Where a pool may answer otherwise than one Triton, and what has to be the same all the same."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from e2e.conformance.asking import Answer, Call

_PREFIX: Final = "Request for unknown model: 'nobody' is not found"
_REFUSED: Final = {
    "model_repository(unload_dependents)",
    "system_shared_memory",
    "cuda_shared_memory",
    "trace",
    "logging",
}


def unknown_model(answer: Answer) -> Any:
    """A pool says that no Model declares it, with 404 and NOT_FOUND also where Triton says 400 or INVALID_ARGUMENT."""
    not_found: dict[int | str, int | str] = {400: 404, "INVALID_ARGUMENT": "NOT_FOUND"}
    status = not_found.get(answer.status, answer.status)
    return status, status == "OK" or "nobody" in str(answer.body) or "not ready" in str(answer.body)


def in_a_stream(answer: Answer) -> Any:
    """The sentence about an unknown model goes on after Triton's."""
    cut = [
        {**part, "errorMessage": part["errorMessage"][: len(_PREFIX)]} for part in answer.body if "errorMessage" in part
    ]
    return answer.status, cut, [part for part in answer.body if "errorMessage" not in part]


def extensions(answer: Answer) -> Any:
    """What a pool refuses is no extension of it."""
    return replace(answer, body={**answer.body, "extensions": set(answer.body["extensions"]) - _REFUSED})


def index(answer: Answer) -> Any:
    """Of models that are not loaded a pool says that, and why."""
    entries = answer.body["models"] if isinstance(answer.body, dict) else answer.body
    return replace(answer, body=[entry for entry in entries if entry.get("state") == "READY"])


def whose_fault(answer: Answer) -> Any:
    """Triton calls a body that is not JSON its own error."""
    return replace(answer, status=400 if answer.status == 500 else answer.status)


def only_status(answer: Answer) -> Any:
    """Both say no; a pool in a sentence."""
    return answer.status


_BY_NAME: Final[tuple[tuple[str, Callable[[Answer], Any]], ...]] = (
    ("nobody in a stream", in_a_stream),
    ("nobody", unknown_model),
    ("server metadata", extensions),
    ("index", index),
    ("malformed", whose_fault),
    ("unknown path", only_status),
    ("wrong method", only_status),
)


def what_counts(call: Call, answer: Answer) -> Any:
    """Return the part of an answer in which a pool must not differ."""
    for name, reduce in _BY_NAME:
        if call.name.startswith(name):
            return reduce(answer)
    return answer
