"""What the operator shows of a pool in its metrics beyond counters: attainment seen and predicted, times of models.

Read when Prometheus asks, from the state as it is, so that the series of what is gone go by themselves.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from larder.api.demand import ModelCount
from larder.runtime.state import PoolState

WINDOW_SECONDS: Final = 300.0
_POOL: Final = ("namespace", "pool")


@dataclass(slots=True)
class Attainment:
    """Requests within and not within their objective, the last minutes weighing most."""

    monotonic: Callable[[], float]
    _met: float = 0.0
    _missed: float = 0.0
    _at_seconds: float | None = None

    def take(self, models: Mapping[str, ModelCount]) -> None:
        """A gateway counted."""
        now = self.monotonic()
        kept = 1.0 if self._at_seconds is None else math.exp((self._at_seconds - now) / WINDOW_SECONDS)
        self._at_seconds = now
        self._met = self._met * kept + sum(count.met or 0 for count in models.values())
        self._missed = self._missed * kept + sum(count.missed or 0 for count in models.values())

    @property
    def share(self) -> float | None:
        """Between 0 and 1; None: nothing with an objective was asked lately."""
        total = self._met + self._missed
        return self._met / total if total > 0.5 else None


Shown = tuple[PoolState, Attainment]


class Pools(Collector):
    """The pools that this replica leads now. One for all, because a family may be named only once in an answer."""

    def __init__(self) -> None:
        self._shown: list[Shown] = []

    @contextmanager
    def showing(self, state: PoolState, attainment: Attainment) -> Iterator[None]:
        """Show a pool while the block runs."""
        self._shown.append((state, attainment))
        try:
            yield
        finally:
            self._shown = [shown for shown in self._shown if shown[0] is not state]

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the first scrape."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The present values; what is not known is left out."""
        shown = list(self._shown)
        for name, (text, read) in _GAUGES.items():
            family = GaugeMetricFamily(f"larder_{name}", text, labels=_POOL)
            for one in shown:
                if (value := read(*one)) is not None:
                    family.add_metric(one[0].report.labels, value)
            yield family
        times = GaugeMetricFamily(
            "larder_model_seconds", "Measured mean times of Models by phase.", labels=(*_POOL, "model", "phase")
        )
        for state, _ in shown:
            _add_times(times, state)
        yield times


def _feasible(state: PoolState, _: Attainment) -> float | None:
    verdict = state.forecasts.verdict
    return None if verdict is None else float(verdict.is_feasible)


_GAUGES: Final[Mapping[str, tuple[str, Callable[[PoolState, Attainment], float | None]]]] = {
    "observed_attainment": (
        "Share of requests within their objective, over the last minutes.",
        lambda _, attainment: attainment.share,
    ),
    "predicted_attainment": (
        "The same as predicted with the present pods.",
        lambda state, _: None if state.forecasts.verdict is None else state.forecasts.verdict.present,
    ),
    "target_attainment": (
        "The share that the pool has to hold.",
        lambda state, _: None if state.forecasts.verdict is None else state.forecasts.verdict.target,
    ),
    "objectives_feasible": ("1 if the most pods allowed are predicted to hold it.", _feasible),
    "forecast_watched_minutes": (
        "Minutes of requests that the forecast has learned from.",
        lambda state, _: float(state.forecasts.watched_intervals),
    ),
}


def _add_times(family: GaugeMetricFamily, state: PoolState) -> None:
    """At most three series for each declared Model."""
    # Of all copies this one is made at once, whatever the event loop does meanwhile.
    for name, book in state.books.models.copy().items():
        if name not in state.declared.serving:
            continue
        phases = (("load", book.load_seconds), ("execution", book.execution_seconds), ("queue", book.queue_seconds))
        for phase, measured in phases:
            if measured is not None:
                family.add_metric((*state.report.labels, name, phase), measured.mean)


POOLS: Final = Pools()
REGISTRY.register(POOLS)
