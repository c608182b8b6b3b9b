"""How many pods: the fewest whose predicted attainment holds.

Up at once, to at most twice the pods (at least one more), because missed objectives are what a pool is for; a further
step waits for the pods of the one before. Down by one pod at a time, not within `settle_seconds` of the last change,
and only where the prediction holds without it by a margin: a tenth of what may be missed.
"""

from collections.abc import Callable
from dataclasses import dataclass

SETTLE_SECONDS = 600.0
MARGIN_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """Between how many pods, the attainment to hold, and how long a number of pods stays before it falls."""

    least: int
    most: int
    target: float
    settle_seconds: float = SETTLE_SECONDS


def highest_step(present: int, limits: Limits) -> int:
    """The most pods that one step may ask for."""
    return min(limits.most, max(present + 1, present * 2))


def desired_pods(predicted: Callable[[int], float], present: int, limits: Limits, since_change_seconds: float) -> int:
    """The number of pods to ask for; `predicted` gives the attainment for a number of pods."""
    present = min(max(present, limits.least), limits.most)
    if predicted(present) < limits.target:
        highest = highest_step(present, limits)
        return next((k for k in range(present + 1, highest) if predicted(k) >= limits.target), highest)
    safe = limits.target + MARGIN_SHARE * (1.0 - limits.target)
    if present > limits.least and since_change_seconds >= limits.settle_seconds and predicted(present - 1) >= safe:
        return present - 1
    return present
