"""The annotation of a Triton pod that was chosen to go: why, since when, and how far that is.

It is on the pod so that a new leader goes on where the one before stopped, and goes with the pod.
"""

import json
from dataclasses import asdict

from larder.core.plan import Reason
from larder.core.snapshot import Retirement
from larder.errors import InvalidInputError


def encode(retirement: Retirement, term: int) -> str:
    """Return the annotation's text; the leader's term comes first."""
    return json.dumps({"term": term, **asdict(retirement)}, separators=(",", ":"))


def decode(text: str) -> Retirement:
    """Parse the annotation. Raises InvalidInputError when it is not one of ours."""
    try:
        record = json.loads(text)
        return Retirement(
            reason=Reason(record["reason"]),
            since_seconds=float(record["since_seconds"]),
            surge=int(record["surge"]),
            told_seconds=_number(record["told_seconds"]),
            to_pods=_whole(record["to_pods"]),
            back_to_pods=_whole(record["back_to_pods"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInputError("annotation larder.dev/retiring", text[:80], "it is written by Larder only") from error


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def _whole(value: object) -> int | None:
    return None if value is None else int(str(value))
