"""How far the forecast is to be trusted when it says that fetching pays: learned from what became of past fetches.

A model fetched at urgency u and held for T seconds was promised u x T misses spared, by the end of its stay or its
first use, whichever comes first; a model that left for it was promised to be missed as much by its own urgency. Both
are compensators of counting processes, whose expectations are the counts themselves (Andersen et al. 1993). The
ratio of what was spared to what was promised, over the last fetches, is the trust; of what was missed to what was
expected, the regret. They see what no calibration of the whole forecast sees: that the best looking of many
forecasts are too good, and the worst looking ones too bad.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

PRIOR_MISSES = 4.0
"""Promised and seen misses that each ratio begins with: near 1 until about as many fetches are judged."""
KEPT = 0.98
"""What of the record remains after each fetch judged: about the last fifty count."""
SPARED_LATE = 0.5
"""A request that came while its model was loading waited for half of the load on average."""


@dataclass(slots=True)
class _Ratio:
    """Seen over expected."""

    seen: float = PRIOR_MISSES
    expected: float = PRIOR_MISSES

    def add(self, seen: float, expected: float) -> None:
        self.seen, self.expected = self.seen * KEPT + seen, self.expected * KEPT + expected


@dataclass(frozen=True, slots=True)
class _Fetch:
    """`asked`: when each of its victims was first asked for since."""

    urgency: float
    since_seconds: float
    ready_seconds: float
    victims: Mapping[str, float]
    asked: dict[str, float] = field(default_factory=dict)


class FetchRecord:
    """What was promised by the fetches of one pool and what was kept."""

    def __init__(self) -> None:
        self._open: dict[str, _Fetch] = {}
        self._left_for: dict[str, set[str]] = {}
        self._spared, self._missed = _Ratio(), _Ratio()

    @property
    def trust(self) -> float:
        """What a fetch is worth for each unit that it promises, beside what leaves for it. At most 1: luck so far
        makes no promise worth more than it says.
        """
        spared, missed = self._spared, self._missed
        return min(1.0, spared.seen / spared.expected) / max(1.0, missed.seen / missed.expected)

    @property
    def open(self) -> Mapping[str, float]:
        """Models that were fetched and not yet judged, with when."""
        return {name: fetch.since_seconds for name, fetch in self._open.items()}

    def is_open(self, model: str) -> bool:
        """Whether the model was fetched and not yet judged."""
        return model in self._open

    def fetched(
        self, model: str, urgency: float, now_seconds: float, load_seconds: float, victims: Mapping[str, float]
    ) -> None:
        """A load ahead began; `victims` left for it, with their urgencies."""
        self.forget(model)
        self._open[model] = _Fetch(urgency, now_seconds, now_seconds + load_seconds, dict(victims))
        for victim in victims:
            self._left_for.setdefault(victim, set()).add(model)

    def victims(self, model: str) -> tuple[str, ...]:
        """What left for a model that was fetched and not yet judged."""
        return tuple(self._open[model].victims)

    def asked(self, model: str, at_seconds: float) -> None:
        """A model was asked for: as a victim it is missed from then on, as one that was fetched it is judged."""
        for name in self._left_for.get(model, ()):
            fetch = self._open[name]
            if fetch.since_seconds < at_seconds:
                fetch.asked.setdefault(model, at_seconds)
        if model in self._open and self._open[model].since_seconds < at_seconds:
            self._judge(model, at_seconds, True)

    def left(self, model: str, at_seconds: float) -> None:
        """A model is not on any pod any more: if it was fetched, that was in vain."""
        if model in self._open:
            self._judge(model, at_seconds, False)

    def forget(self, model: str) -> None:
        """Nobody will know what becomes of this fetch."""
        if (fetch := self._open.pop(model, None)) is not None:
            for victim in fetch.victims:
                others = self._left_for[victim]
                others.discard(model)
                if not others:
                    del self._left_for[victim]

    def _judge(self, model: str, at_seconds: float, used: bool) -> None:
        fetch = self._open[model]
        self.forget(model)
        held_seconds = max(0.0, at_seconds - fetch.since_seconds)
        spared = 0.0 if not used else 1.0 if at_seconds >= fetch.ready_seconds else SPARED_LATE
        self._spared.add(spared, _promised(fetch.urgency, held_seconds))
        for victim, urgency in fetch.victims.items():
            asked_seconds = fetch.asked.get(victim, math.inf)
            away_seconds = min(held_seconds, asked_seconds - fetch.since_seconds)
            self._missed.add(float(asked_seconds <= at_seconds), _promised(urgency, away_seconds))


def _promised(urgency: float, seconds: float) -> float:
    """No more than one miss: only the first use is judged."""
    return min(1.0, urgency * seconds)
