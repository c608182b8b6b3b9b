"""One pool's forecast in the operator: fed by the gateways' counts, asked once a round.

Intervals run on the monotonic clock, so that a wall clock that jumps teaches nothing. An interval in which a gateway
was silent is unknown, not idle: it teaches nothing. A new leader's forecast begins anew; until it has watched for
`WARM_INTERVALS`, what it has not seen asked for is valued by recency.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from larder.core import snapshot as core
from larder.core.appraisal import Appraisal, Catalog, Floats, Traffic
from larder.core.attainment import with_present_rates
from larder.core.experience import Experience
from larder.core.forecast import Forecaster, is_known
from larder.core.objectives import Verdict, judge, target_attainment
from larder.core.outlook import appraise, make_catalog, miss_costs
from larder.core.plan import Action, Drain
from larder.core.shortfall import LEAST_INTERVALS, Shortfalls, settled_pods
from larder.core.sizing import needs_of
from larder.core.worth import ASSUMED_LOAD_SECONDS, RATE_AGE_SECONDS

MINUTE_SECONDS: Final = 60.0
"""The interval that a forecast learns in, unless the operator is told another one."""
SIZE_SECONDS: Final = 2.0
"""How often the number of pods is thought about; a plan between keeps it."""

JUDGE_SECONDS: Final = 15.0
"""How often it is judged at most whether the objectives can be met; the status says so, and each change is a write."""

COUNT_SECONDS: Final = 1.0
"""Gateways tell once a second: what they tell of may have been asked so long ago."""

UNLOAD_SECONDS: Final = 30.0
"""A load that follows later than this on what was drained for it is another one."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is forecast at one moment; None: nothing can be said."""

    rates: Mapping[str, core.Rate] = field(default_factory=dict)
    appraisal: Appraisal | None = None
    traffic: Traffic | None = None
    target_attainment: float | None = None
    shortfalls: Mapping[int, float] = field(default_factory=dict)

    def onto(self, snapshot: core.Snapshot) -> core.Snapshot:
        """The snapshot with the forecast."""
        return replace(
            snapshot,
            settings=replace(snapshot.settings, target_attainment=self.target_attainment),
            rates=self.rates,
            appraisal=self.appraisal,
            traffic=self.traffic,
            shortfalls=self.shortfalls,
        )


class Forecasts:
    """One pool. `verdict` is whether the objectives can be met, as judged last; None: too little is known."""

    def __init__(self, monotonic: Callable[[], float], interval_seconds: float = MINUTE_SECONDS) -> None:
        self._monotonic = monotonic
        self.interval_seconds = interval_seconds
        self._names: tuple[str, ...] = ()
        self._numbers: dict[str, int] = {}
        self._forecaster = Forecaster(0, interval_seconds, monotonic())
        self._counted = False
        self._declared: Iterable[str] | None = None
        """What was declared last; only to know it again."""
        self._sized_seconds = self._judged_seconds = float("-inf")
        self._experience = Experience(UNLOAD_SECONDS)
        self._shortfalls = Shortfalls(interval_seconds)
        self._settled_pods: int | None = None
        self.verdict: Verdict | None = None

    def copied(self) -> "Forecasts":
        """The same at this moment, to be asked beside the event loop. Only the counts of the present interval go on."""
        found = copy.copy(self)
        found._experience, found._shortfalls = copy.deepcopy((self._experience, self._shortfalls))
        return found

    def take_over(self, asked: "Forecasts") -> None:
        """Go on from what a copy judged, and when."""
        self._sized_seconds, self._judged_seconds = asked._sized_seconds, asked._judged_seconds
        self.verdict, self._settled_pods = asked.verdict, asked._settled_pods

    @property
    def watched_intervals(self) -> int:
        """Intervals of `interval_seconds` that the forecast has learned from."""
        return self._forecaster.closed_intervals

    def count(self, requests: Mapping[str, int]) -> None:
        """A gateway tells what was asked of it since it told last."""
        self._counted = True
        counts, since = np.zeros(len(self._names)), self._monotonic() - COUNT_SECONDS
        for name, count in requests.items():
            if count and (number := self._numbers.get(name)) is not None:
                counts[number] += count
                self._experience.record.asked(name, since)
        self._forecaster.add(counts)

    def attained(self, met: int, missed: int) -> None:
        """A gateway tells how many requests met their objectives: what was predicted is held against it."""
        if self.verdict is not None and self._settled_pods is not None:
            self._shortfalls.take(self._monotonic(), self._settled_pods, met + missed, missed, self.verdict.present)

    def began(self, actions: Sequence[Action], snapshot: core.Snapshot) -> None:
        """These actions began, decided on this snapshot: what becomes of what they promise teaches how far to trust."""
        now = self._monotonic()
        if snapshot.appraisal is None:
            return
        waiting = {name: held.count for name, held in snapshot.waiting.items()}
        self._experience.began(now, actions, waiting, snapshot.appraisal)
        for action in actions:
            if isinstance(action, Drain) and _is_last_copy(action, snapshot):
                self._experience.record.left(action.model, now)

    def declare(self, names: Iterable[str]) -> None:
        """These are the pool's models now. What is known of those that stay, stays."""
        if names is self._declared:
            return
        self._declared, present = names, tuple(sorted(names))
        if present == self._names:
            return
        for name in self._numbers.keys() - set(present):
            self._experience.record.forget(name)
        self._forecaster.rearrange(np.array([self._numbers.get(name, -1) for name in present], dtype=np.int64))
        self._names, self._numbers = present, {name: n for n, name in enumerate(present)}

    def adopt(self, names: tuple[str, ...], forecaster: Forecaster) -> None:
        """Go on from one that knows the past of these models."""
        present = self._names
        self._forecaster, self._names, self._counted = forecaster, names, True
        self._numbers = {name: n for n, name in enumerate(names)}
        self.declare(present)

    def advance(self, is_known: Callable[[float], bool]) -> None:
        """Close intervals that are over; `is_known` says whether every gateway counted through the last so many
        seconds. What lies beyond one interval was not watched: the loop itself was away.
        """
        forecaster, now = self._forecaster, self._monotonic()
        if now < forecaster.interval_end_seconds:
            return
        if is_known(self.interval_seconds):
            forecaster.close_interval()
        if (missed := now - forecaster.interval_end_seconds) >= 0.0:
            forecaster.skip_intervals(1 + int(missed / self.interval_seconds))

    def expected(self, snapshot: core.Snapshot, now_seconds: float) -> Expected:
        """What is forecast now, of a snapshot without forecast."""
        forecaster = self._forecaster
        if not self._counted or not self._names:
            return Expected(snapshot.rates)
        catalog = make_catalog(snapshot.models, snapshot.settings.default_model_bytes, ASSUMED_LOAD_SECONDS)
        assert catalog.names == self._names, "the forecast is of the declared models"
        outlook = forecaster.outlook(self._monotonic(), catalog.load_seconds, self._fetch_shares(catalog, snapshot))
        appraisal = appraise(catalog, outlook, is_known(forecaster), self._experience.record.trust)
        rates = _present(catalog, snapshot, now_seconds)
        traffic = with_present_rates(forecaster.traffic(), rates)
        busy = _busy(catalog, np.maximum(rates, forecaster.busy_rates_per_second()), now_seconds)
        target = self._target(catalog, snapshot, traffic)
        shortfalls = self._shortfalls.factors(self._monotonic())
        return Expected({**snapshot.rates, **busy}, appraisal, traffic, target, shortfalls)

    def missed(self, waiting: Iterable[str], is_placed: Callable[[str], bool]) -> None:
        """What waits and is on no pod was not spared by its fetch, and is missed by those that it left for."""
        record, now = self._experience.record, self._monotonic()
        for name in waiting:
            if record.is_open(name) and not is_placed(name):
                record.left(name, now)
            record.asked(name, now)

    def _fetch_shares(self, catalog: Catalog, snapshot: core.Snapshot) -> Floats:
        """What the load slots that fetches take cost those who wait for loads."""
        serving = sum(p.state is core.PodState.SERVING for p in snapshot.pods.values())
        slots = serving * snapshot.settings.loads_at_once
        costs = miss_costs(catalog, self._forecaster.burst_rates)
        return self._experience.fetch_shares(self._monotonic(), slots, catalog.load_seconds, costs)

    def judge(self, snapshot: core.Snapshot) -> None:
        """Judge now and then whether the objectives can be met, when the number of pods is thought about as well."""
        now, appraisal = self._monotonic(), snapshot.appraisal
        self._settled_pods = settled_pods(snapshot) if self.watched_intervals >= LEAST_INTERVALS else None
        if snapshot.settings.target_attainment is None or appraisal is None:
            return
        if self.verdict is None or now - self._judged_seconds >= JUDGE_SECONDS:
            self._judged_seconds = now
            self.verdict = judge(snapshot, needs_of(appraisal.catalog, snapshot))

    def _target(self, catalog: Catalog, snapshot: core.Snapshot, traffic: Traffic) -> float | None:
        """What is to hold, now and then: between, the number of pods is left as it is."""
        now = self._monotonic()
        if now - self._sized_seconds < SIZE_SECONDS:
            return None
        self._sized_seconds = now
        target = target_attainment([snapshot.models[name].objective for name in catalog.names], traffic)
        if target is None:
            self.verdict = None
        return target


def _is_last_copy(drain: Drain, snapshot: core.Snapshot) -> bool:
    return all(p.pod == drain.pod for p in snapshot.placements if p.model == drain.model)


def _present(catalog: Catalog, snapshot: core.Snapshot, now_seconds: float) -> Floats:
    """Requests per second by what gateways told lately; what is older is not what is asked now."""
    found = np.zeros(len(catalog.names))
    for name, rate in snapshot.rates.items():
        number = catalog.index.get(name)
        if number is not None and now_seconds - rate.at_seconds <= RATE_AGE_SECONDS:
            found[number] = rate.per_second
    return found


def _busy(catalog: Catalog, rates: Floats, now_seconds: float) -> dict[str, core.Rate]:
    """Copies are made for the rate while a model is busy, not for its average."""
    return {catalog.names[n]: core.Rate(float(rates[n]), now_seconds) for n in np.nonzero(rates)[0].tolist()}
