"""Keeps the collector of cyclic garbage from looking at what lives on, again and again.

A pool of 10,000 models is a million objects, few of which ever go, and none in a cycle. A full collection that looks at
all of them holds every thread for a third of a second, some twenty times a minute while plans are made. So what has
survived a collection that took long is frozen: no collection looks at it any more. It still goes when nothing refers to
it. What became a cycle meanwhile is found by a whole look, once as much again was frozen.
"""

import gc
import time
from dataclasses import dataclass
from typing import Any, Final

LONGEST_SECONDS: Final = 0.02
"""A full collection may hold everything for so long."""
GROWTH: Final = 2.0
"""A whole look follows once so many times the objects are frozen that were after the last one."""


@dataclass(slots=True)
class Freezer:
    """One of `gc.callbacks`. `whole` is how many objects were frozen after the last whole look; 0: none was yet."""

    longest_seconds: float = LONGEST_SECONDS
    whole: int = 0
    _began_seconds: float = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        """After a full collection that took too long: freeze what is left, or begin a whole look."""
        if info["generation"] < 2:
            return
        if phase == "start":
            self._began_seconds = time.perf_counter()
        elif time.perf_counter() - self._began_seconds >= self.longest_seconds:
            self._freeze()

    def _freeze(self) -> None:
        if self.whole and gc.get_freeze_count() > GROWTH * self.whole:
            gc.unfreeze()
            self.whole = 0
            return
        gc.freeze()
        self.whole = self.whole or gc.get_freeze_count()
