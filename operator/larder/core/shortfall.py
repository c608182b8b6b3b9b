"""How many misses are seen for each one predicted, learned for each number of pods.

A prediction knows nothing of what it leaves out, and a tenth of what may be missed decides on a pod. So what was seen
with a number of pods corrects what is predicted for that number: misses seen over misses expected, as in `core.trust`.
Evidence fades, so that a number of pods that once fell short is tried again.
"""

import math
from collections.abc import Mapping

from larder.core.snapshot import PodState, Snapshot

PRIOR_MISSES = 8.0
"""Seen and expected misses that each ratio begins with: near 1 until about as many are seen."""
MEMORY_INTERVALS = 60.0
"""Evidence of about so many intervals counts."""
MOST = 10.0
"""No prediction is corrected by more than this factor."""
LEAST_INTERVALS = 5
"""What is seen counts once so many intervals were watched: first requests are cold whatever the number of pods."""


class Shortfalls:
    """What became of predictions in one pool."""

    def __init__(self, interval_seconds: float) -> None:
        self._memory_seconds = MEMORY_INTERVALS * interval_seconds
        self._found: dict[int, tuple[float, float, float]] = {}

    def take(self, now_seconds: float, pods: int, requests: int, missed: int, predicted: float) -> None:
        """With so many pods, that much of the requests missed their objective; `predicted` were to meet it."""
        seen, expected = self._faded(now_seconds, pods)
        self._found[pods] = (seen + missed, expected + requests * (1.0 - predicted), now_seconds)

    def factors(self, now_seconds: float) -> Mapping[int, float]:
        """By number of pods: misses to count on for each one predicted."""
        found = {}
        for pods in self._found:
            seen, expected = self._faded(now_seconds, pods)
            found[pods] = min(MOST, max(1.0 / MOST, (seen + PRIOR_MISSES) / (expected + PRIOR_MISSES)))
        return found

    def _faded(self, now_seconds: float, pods: int) -> tuple[float, float]:
        seen, expected, at_seconds = self._found.get(pods, (0.0, 0.0, now_seconds))
        kept = math.exp(-max(0.0, now_seconds - at_seconds) / self._memory_seconds)
        return seen * kept, expected * kept


def settled_pods(snapshot: Snapshot) -> int | None:
    """The number of pods where all that are asked for serve and no other is there; None: pods come or go."""
    serving = sum(pod.state is PodState.SERVING for pod in snapshot.pods.values())
    return serving if serving == len(snapshot.pods) == snapshot.asked_pods else None


def corrected(predicted: float, factor: float) -> float:
    """A predicted attainment with its misses multiplied."""
    return 1.0 - min(1.0, (1.0 - predicted) * factor)
