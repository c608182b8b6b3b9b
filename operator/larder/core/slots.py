"""What an occupied load slot costs those who wait for loads: the price of loading ahead.

Cold loads queue for the slots of all pods as in M/M/c (Erlang 1917). A fetch takes one of c slots away for as long
as it lasts; while it does, each cold request waits W(c - 1) instead of W(c). What that costs all cold requests
together, in seconds of waiting per second, is the price of a slot.
"""

import math

MEMORY_SECONDS = 600.0
"""Cold loads of about so long ago still say how busy the slots will be."""
BUSIEST = 0.98


def mean_wait(slots: int, load: float, hold_seconds: float) -> float:
    """Seconds that an arrival waits for one of `slots` slots, each held so long on average; `load` in Erlang."""
    load = min(load, BUSIEST * slots)
    blocked = 1.0
    for n in range(1, slots + 1):
        blocked = load * blocked / (n + load * blocked)
    queued = blocked / (1.0 - load / slots * (1.0 - blocked))
    return queued * hold_seconds / (slots - load)


class ColdLoads:
    """How much of the load slots cold requests have used lately."""

    def __init__(self) -> None:
        self._at_seconds = -math.inf
        self._busy = self._loads = self._requests = 0.0

    def began(self, now_seconds: float, load_seconds: float, requests: int) -> None:
        """A load began for so many requests."""
        self._fade(now_seconds)
        self._busy += load_seconds / MEMORY_SECONDS
        self._loads += 1.0 / MEMORY_SECONDS
        self._requests += requests / MEMORY_SECONDS

    def price(self, now_seconds: float, slots: int) -> float:
        """Seconds of waiting that one occupied slot costs per second."""
        self._fade(now_seconds)
        if self._loads <= 0.0 or slots < 1:
            return 0.0
        if slots == 1:
            return self._requests * MEMORY_SECONDS
        hold_seconds = self._busy / self._loads
        fewer = mean_wait(slots - 1, self._busy, hold_seconds)
        return self._requests * max(0.0, fewer - mean_wait(slots, self._busy, hold_seconds))

    def _fade(self, now_seconds: float) -> None:
        kept = math.exp(-max(0.0, now_seconds - self._at_seconds) / MEMORY_SECONDS)
        self._busy, self._loads, self._requests = self._busy * kept, self._loads * kept, self._requests * kept
        self._at_seconds = max(now_seconds, self._at_seconds)
