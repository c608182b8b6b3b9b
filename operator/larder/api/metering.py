"""What a pod's meter says on its stream: one JSON object a line. Made by `larder meter`, read by the operator."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from larder.errors import InvalidInputError

READ_PATH = "/v1/memory"
"""One reading, taken after the request arrived."""
STREAM_PATH = "/v1/memory/stream"
"""Readings without end: at once when the total moved, and each second."""


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """What the processes of one container take and nobody can take back: anonymous memory, in bytes.

    `models` has of it what the processes of single models take, by their names in the repository.
    """

    total_bytes: int
    models: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """One look. `sequence` orders readings of one meter, `at_seconds` is its Unix time.

    `containers` is by container id, or "" where the cgroup names none. `shared_bytes` is the pod's shared memory,
    counted once. `kills` counts the node's processes that were ended for want of memory; None: the kernel tells not.
    """

    sequence: int
    at_seconds: float
    containers: Mapping[str, ContainerUse]
    shared_bytes: int = 0
    kills: int | None = None


def encode(reading: Reading) -> str:
    """Return the line, without its end."""
    return json.dumps(
        {
            "seq": reading.sequence,
            "at": round(reading.at_seconds, 3),
            "shared": reading.shared_bytes,
            "kills": reading.kills,
            "containers": {
                name: {"total": use.total_bytes, "models": dict(use.models)} for name, use in reading.containers.items()
            },
        },
        separators=(",", ":"),
    )


def decode(line: str) -> Reading:
    """Parse a line. Raises InvalidInputError when it is none of a meter's."""
    try:
        said = json.loads(line)
        containers = {
            str(name): ContainerUse(int(use["total"]), {str(m): int(b) for m, b in use["models"].items()})
            for name, use in said["containers"].items()
        }
        kills = said["kills"]
        return Reading(
            int(said["seq"]), float(said["at"]), containers, int(said["shared"]), None if kills is None else int(kills)
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(
            "reading of a meter", line[:80], "one JSON object of a meter of this release"
        ) from error
