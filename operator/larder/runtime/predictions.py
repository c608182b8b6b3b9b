"""What gateways are told of when a waiting model is expected to be ready: at first, when it moves, when it is off."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from larder.api.demand import Prediction
from larder.core.readiness import ready_in_seconds
from larder.core.snapshot import Snapshot
from larder.runtime.state import PoolState

NEWS_SECONDS: Final = 0.1
NEWS_SHARE: Final = 0.2
"""A moment that moved by less than both, the share being of what is left, is no news."""


@dataclass(slots=True)
class Predictions:
    """Of one pool; `told` is when each model was said to be ready, in Unix seconds."""

    state: PoolState
    _told: dict[str, float] = field(default_factory=dict)

    def tell(self, look: Callable[[], Snapshot]) -> None:
        """Tell all gateways what is new. `look` shows what waits now and what loads."""
        now, snapshot = self.state.clock.unix(), look()
        expected = {name: now + seconds for name, seconds in ready_in_seconds(snapshot, now).items()}
        for name, at in expected.items():
            if self._is_news(name, at, now):
                self.state.gateways.tell(Prediction(name, at - now))
            else:
                expected[name] = self._told[name]
        for name in self._told.keys() - expected.keys():
            if self._told[name] > now:
                # Overtaken, or nobody waits any more and the load may never come: it sends nobody away.
                self.state.gateways.tell(Prediction(name, 0.0))
        self._told = expected

    @property
    def stand(self) -> bool:
        """Whether any were told that may have to be taken back."""
        return bool(self._told)

    def known(self) -> Iterable[Prediction]:
        """What a gateway must know that connects now."""
        now = self.state.clock.unix()
        for name, at in self._told.items():
            if at > now:
                yield Prediction(name, at - now)

    def _is_news(self, name: str, at_seconds: float, now_seconds: float) -> bool:
        before = self._told.get(name)
        least = max(NEWS_SECONDS, NEWS_SHARE * (at_seconds - now_seconds))
        return before is None or abs(at_seconds - before) >= least
