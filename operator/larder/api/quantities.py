"""Kubernetes quantities (bytes), durations (seconds) and times (Unix seconds), as text and as numbers.

Quantities are Kubernetes' own; durations are those of Gateway API (GEP-2257, a subset of Go's): whole numbers
with the units h, m, s and ms, such as `50ms` or `1m30s`. The CRDs' rules accept exactly what is parsed here.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from kubernetes.utils.duration import format_duration, parse_duration
from kubernetes.utils.quantity import parse_quantity

from larder.errors import InvalidInputError

MAX_BYTES: Final = 2**50
"""1Pi: more than any pod has, and small enough that no arithmetic on it surprises."""

_QUANTITY: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}", re.ASCII)


def parse_bytes(field: str, value: object, *, allow_zero: bool = False) -> int:
    """Return a quantity as whole bytes, rounded up as Kubernetes does.

    Raises InvalidInputError naming `field` when it is not a quantity between 1 (0 with `allow_zero`) and 1Pi.
    """
    at_least = "0" if allow_zero else "1"
    error = InvalidInputError(field, value, f"it must be a quantity such as 512Mi or 2Gi, from {at_least} to 1Pi")
    if isinstance(value, bool) or not isinstance(value, str | int) or not _QUANTITY.fullmatch(str(value)):
        raise error
    try:
        number = _number(str(value))
    except (ValueError, ArithmeticError):
        raise error from None
    if not Decimal(at_least) <= number <= MAX_BYTES:
        raise error
    return int(number.to_integral_value(rounding="ROUND_CEILING"))


def parse_seconds(field: str, value: object) -> float:
    """Return a duration as seconds. Raises InvalidInputError naming `field` unless it parses and is positive."""
    if isinstance(value, str) and _DURATION.fullmatch(value):
        seconds = parse_duration(value).total_seconds()
        if seconds > 0:
            return float(seconds)
    raise InvalidInputError(field, value, "it must be a positive duration such as 50ms, 2s or 1m30s")


def _number(text: str) -> Decimal:
    return Decimal(parse_quantity(text))


def format_seconds(seconds: float) -> str:
    """Return seconds as a duration, rounded to a millisecond."""
    return str(format_duration(timedelta(milliseconds=round(seconds * 1000))))


def parse_time(field: str, value: object) -> float:
    """Return an RFC 3339 time as Unix seconds. Raises InvalidInputError naming `field`."""
    try:
        moment = datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(field, value, "it must be a time such as 2026-01-31T12:00:00Z") from error


def format_time(seconds: float) -> str:
    """Return Unix seconds as RFC 3339 in UTC, to the second, as Kubernetes writes times."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
