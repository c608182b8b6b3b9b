"""What Prometheus knows of one pool: whether its counts can be had, and the forecast's past, filled in once a term."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from larder.adapters.prometheus_reads import History
from larder.api.conditions import ConditionReason
from larder.api.quantities import format_time
from larder.core.forecast import RING, WARM_INTERVALS, Forecaster
from larder.errors import MetricsError
from larder.runtime.forecasts import MINUTE_SECONDS
from larder.runtime.state import PoolState

log = logging.getLogger(__name__)

STALE_SECONDS: Final = 300.0


class Metrics(Protocol):
    """Where counts of the past are kept. Raises MetricsError."""

    async def age_seconds(self, namespace: str, pool: str) -> float:
        """How old the newest count of the pool's gateways is."""

    async def history(self, namespace: str, pool: str, minutes: int) -> History:
        """The pool's counts over the last so many minutes."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the last look at Prometheus went; `reason` None: well. `good_seconds` is the time of the newest good data."""

    reason: ConditionReason | str | None
    message: str = ""
    good_seconds: float | None = None


NOT_CONFIGURED: Final = Reading(
    ConditionReason.NOT_CONFIGURED,
    "no Prometheus is configured: forecasts know what the gateways' demand streams told since this replica leads",
)


class Past:
    """One pool, for one term."""

    def __init__(self, state: PoolState, metrics: Metrics | None) -> None:
        self._state, self._metrics = state, metrics
        self._recalled = False
        self.reading = NOT_CONFIGURED if metrics is None else Reading(ConditionReason.NOT_YET_KNOWN)

    async def run(self) -> None:
        """Look now and then, until cancelled; at once where nothing is configured."""
        while self._metrics is not None:
            await self._look(self._metrics)
            await asyncio.sleep(self._state.timings.metrics)

    async def _look(self, metrics: Metrics) -> None:
        meta = self._state.pool.meta
        try:
            age_seconds = await metrics.age_seconds(meta.namespace, meta.name)
            good = self._state.clock.unix() - age_seconds
            if not self._recalled:
                await self._recall(metrics)
            self.reading = Reading(None, good_seconds=good)
            if age_seconds > STALE_SECONDS:
                self.reading = Reading(ConditionReason.STALE_DATA, "its newest data is old", good)
        except MetricsError as error:
            if error.reason != self.reading.reason:
                log.warning("pool %s/%s: %s", meta.namespace, meta.name, error)
            self.reading = Reading(error.reason, str(error), self.reading.good_seconds)

    async def _recall(self, metrics: Metrics) -> None:
        """Give the forecast its past, unless what it watched by itself is as good."""
        state, meta = self._state, self._state.pool.meta
        in_minutes = state.forecasts.interval_seconds == MINUTE_SECONDS
        if in_minutes and state.forecasts.watched_intervals < WARM_INTERVALS:
            history = await metrics.history(meta.namespace, meta.name, RING)
            names = tuple(sorted(state.declared.serving))
            trained = await asyncio.to_thread(taught, history, names, state.clock.monotonic())
            state.forecasts.adopt(names, trained)
            log.info("pool %s/%s: the forecast knows %d past minutes", meta.namespace, meta.name, history.known.sum())
            state.wake()
        self._recalled = True


def taught(history: History, names: tuple[str, ...], now_seconds: float) -> Forecaster:
    """A forecaster that watched this history; its present interval begins now. Unknown minutes teach nothing."""
    minutes = len(history.known)
    forecaster = Forecaster(len(names), MINUTE_SECONDS, now_seconds - minutes * MINUTE_SECONDS)
    numbers = {name: n for n, name in enumerate(history.models)}
    columns = np.array([numbers.get(name, -1) for name in names], dtype=np.int64)
    for minute in range(minutes):
        if history.known[minute]:
            row = np.append(history.counts[minute], 0)
            forecaster.add(row[columns].astype(np.float64))
            forecaster.close_interval()
        else:
            forecaster.skip_intervals(1)
    return forecaster


def explained(reading: Reading) -> str:
    """What the condition says while Prometheus gives nothing."""
    since = "" if reading.good_seconds is None else f"; the last good data is of {format_time(reading.good_seconds)}"
    lost = "decisions go by the gateways' demand streams alone"
    return f"{reading.message or 'not yet asked'}{since}; {lost}"
