"""Reading what a process is told by its environment. Raises InvalidInputError naming the variable and its value."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from larder.errors import InvalidInputError

Number = TypeVar("Number", int, float)


def text(environment: Mapping[str, str], name: str) -> str:
    """Return a variable that must be set."""
    value = environment.get(name, "")
    if not value:
        raise InvalidInputError(name, value, "it must be set")
    return value


def number(environment: Mapping[str, str], name: str, default: Number, parse: Callable[[str], Number]) -> Number:
    """Return a positive number; the default where the variable is not set, or empty."""
    told = environment.get(name, "")
    if not told:
        return default
    try:
        value = parse(told)
    except ValueError as error:
        kind = "a whole number" if parse is int else "a number"
        raise InvalidInputError(name, told, f"it must be {kind}") from error
    if not 0 < value < float("inf"):
        raise InvalidInputError(name, told, "it must be positive")
    return value
