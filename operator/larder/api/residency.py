"""The residency annotation: what a Triton pod may be sent requests for, written by the operator on the pod.

It is bound to one container: a gateway ignores it when another container runs. The higher (term, generation)
wins; a hint on the demand stream carries the same record.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from larder.errors import InvalidInputError

MAX_BYTES = 200 * 1024
_TERM = re.compile(r'"term":([0-9]{1,18})')
_HEAD_LENGTH = 1024
"""The container and the numbers come first."""


@dataclass(frozen=True, slots=True)
class Resident:
    """One model on the pod, as counted by the operator. `routable` is False from draining on."""

    revision: str = ""
    memory_bytes: int = 0
    since_seconds: float = 0.0
    routable: bool = True


@dataclass(frozen=True, slots=True)
class Residency:
    """What one container of one pod serves."""

    container_id: str
    term: int = 0
    generation: int = 0
    models: Mapping[str, Resident] = field(default_factory=dict)

    @property
    def version(self) -> tuple[int, int]:
        """Orders two records of one container."""
        return (self.term, self.generation)

    @property
    def routable(self) -> frozenset[str]:
        """The models that may be sent requests here."""
        return frozenset(name for name, resident in self.models.items() if resident.routable)


def encode(residency: Residency) -> str:
    """Return the annotation's text. Raises InvalidInputError over 200 KiB."""
    text = json.dumps(
        {
            "containerID": residency.container_id,
            "term": residency.term,
            "generation": residency.generation,
            "models": {
                name: {"r": m.revision, "b": m.memory_bytes, "t": round(m.since_seconds, 3), "on": m.routable}
                for name, m in sorted(residency.models.items())
            },
        },
        separators=(",", ":"),
    )
    if len(text.encode()) > MAX_BYTES:
        raise InvalidInputError(
            "annotation larder.dev/residency", f"{len(text)} bytes", f"at most {MAX_BYTES} bytes fit on a pod"
        )
    return text


def decode(text: str) -> Residency:
    """Parse the annotation. Raises InvalidInputError when it is not one of ours."""
    try:
        record = json.loads(text)
        models = {
            str(name): Resident(str(m["r"]), int(m["b"]), float(m["t"]), bool(m["on"]))
            for name, m in record["models"].items()
        }
        return Residency(str(record["containerID"]), int(record["term"]), int(record["generation"]), models)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(
            "annotation larder.dev/residency", text[:80], "it is written by the operator only"
        ) from error


def term_of(text: str) -> int:
    """The term of an annotation's text without reading the whole of it; 0 where it tells none."""
    found = _TERM.search(text[:_HEAD_LENGTH])
    return int(found[1]) if found else 0
