"""How many held requests go to one copy at once, without I/O: a window, as in TCP.

It grows by one with each answer that came while it was in full use, and is halved where Triton says that the model's
queue is full; then nothing is sent for a moment.
"""

from dataclasses import dataclass
from typing import Final

FIRST_WINDOW: Final = 16
LARGEST_WINDOW: Final = 512
REST_SECONDS: Final = 0.05


@dataclass(slots=True)
class Window:
    """One copy's window."""

    size: int = FIRST_WINDOW
    in_flight: int = 0
    rests_until_seconds: float = 0.0

    def has_room(self, now_seconds: float) -> bool:
        """Whether one more request may be sent now."""
        return self.in_flight < self.size and now_seconds >= self.rests_until_seconds

    def take(self) -> None:
        """A request is sent."""
        self.in_flight += 1

    def give_back(self, *, answered: bool = False) -> None:
        """It has ended; the window grows where an answer shows that it may."""
        if answered and self.in_flight >= self.size:
            self.size = min(self.size + 1, LARGEST_WINDOW)
        self.in_flight -= 1

    def shrink(self, now_seconds: float) -> None:
        """The queue is full; requests of one burst that all hear so halve the window once."""
        if now_seconds < self.rests_until_seconds:
            return
        self.size = max(1, self.size // 2)
        self.rests_until_seconds = now_seconds + REST_SECONDS
