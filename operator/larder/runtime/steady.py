"""Unix time that does not jump: decisions weigh how long ago things were, by a clock that somebody may set."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

CATCH_UP: Final = 0.01
"""Seconds a second by which it comes nearer to the wall clock: one that runs wrong is followed, a jump is not."""


@dataclass(slots=True)
class SteadyTime:
    """Begins with the wall clock, goes on with the monotonic one, and never goes back."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]
    _at_seconds: float = field(init=False)
    _unix_seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self._at_seconds, self._unix_seconds = self.monotonic(), self.wall()

    def __call__(self) -> float:
        """The present time."""
        now = self.monotonic()
        passed, self._at_seconds = now - self._at_seconds, now
        self._unix_seconds += passed
        most = CATCH_UP * passed
        self._unix_seconds += min(most, max(-most, self.wall() - self._unix_seconds))
        return self._unix_seconds
