"""What a run is made of, as data: which part of the trace, how much faster, and what must hold at its end."""

from dataclasses import dataclass
from typing import Final

from e2e.replay.excerpt import Cut

PODS_MIN: Final = 1
PODS_MAX: Final = 3
SCALE_DOWN_SECONDS: Final = 600.0
PROTECTION_SECONDS: Final = 30.0
"""What a pool has by default; a run has it compressed."""
TARGET_ATTAINMENT: Final = 0.99
"""Of every model, and so of the pool."""
FEASIBLE_SHARE: Final = 0.99
"""What a run must reach of the feasible attainment."""
ATTAINMENT_POINTS: Final = 0.02
COLD_RELATIVE: Final = 0.20
POD_SECONDS_RELATIVE: Final = 0.15
"""How far the simulator may be off."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Not `judged`: too short for its shares to say anything; only its answers count."""

    name: str
    cut: Cut
    judged: bool = True

    @property
    def scale_down_seconds(self) -> float:
        """How long a number of pods is kept at least."""
        return SCALE_DOWN_SECONDS / self.cut.compression

    @property
    def protection_seconds(self) -> float:
        """How long a model is kept after its load."""
        return round(PROTECTION_SECONDS / self.cut.compression)


FULL: Final = Plan("full", Cut(first_minute=690, minutes=60, compression=5.0, models=36, seed=4))
SHORT: Final = Plan("short", Cut(first_minute=718, minutes=4, compression=5.0, models=36, seed=4), judged=False)
