"""When each model will be asked for next, learned from counts per interval, for all models at once.

A discrete-time survival model. Time from the next interval on is cut into windows that double in width; for each,
a logistic regression gives the chance of a request in it, given none before it. Its inputs are one model's own
history at several scales; its weights are shared by all models of the pool and learned online (AdaGrad, Duchi et
al. 2011), so that what is learned from one model's habits serves those with a short history. Inputs: the hazard of
the model's learned gap histogram (shrunk towards the histogram of all models with two strengths), the time since
the last use, activity averaged over five time scales, the last intervals one by one, activity at multiples of the
common timer periods, and around the same place 30 minutes to 4 hours ago.

Per model about 5 KB: a ring of 512 intervals (512 B), two float32 histograms of 512 gaps (4 KB), averages. For
learning, inputs of at most 256 models are kept for 128 intervals (11 MB in all, whatever the number of models).
A closed interval costs a constant time per model.
"""

from collections import deque
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from larder.core.appraisal import Floats, Traffic
from larder.core.outlook import Outlook

_Number = TypeVar("_Number", np.uint8, np.int64, np.float32, np.float64)

RING = 512
GAPS = 512
LEARNED_ROWS = 256
EDGES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128])
LENGTHS = np.diff(EDGES)
WINDOWS = len(EDGES) - 1
SCALES = np.array([2.0, 5.0, 15.0, 60.0, 240.0])
"""Time constants of the averages, in intervals."""
LAGS = (1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 20, 30, 60)
PERIODS = (2, 3, 4, 5, 6, 10, 15, 20, 30, 60)
"""Periods that timers commonly have, in intervals."""
FAR_PERIODS = (30, 60, 120, 240)
STRENGTHS = (1.0, 8.0)
"""How many observations of its own outweigh the histogram of all models."""
LEARNING_RATE = 0.1
FORGET_HALF_LIFE = 1440
"""Histograms halve in so many intervals."""
FORGET_EVERY = 32
BURST_STEP = 0.3
"""Weight of the newest active interval in the average of requests per active interval."""
WARM_INTERVALS = 60
"""Until it has watched for so many intervals, a forecast knows nothing of models that it has not seen asked for."""
UNSEEN_SHARE = 0.01
"""The share of intervals with a request that averages begin with."""
IDLE_INTERVALS = 4.0
"""Until more is known, as if every model had been left alone for so many intervals before the first."""
LATELY_ACTIVE = 0.1
"""Share of the last few intervals (second scale) with a request, from which on a model counts as busy lately."""
NEWCOMERS = 8
"""The last so many first requests ever, of any model, say how soon the next of the unseen models will have its own."""


class _Newcomers:
    """The chance of a first request: the same for all models never asked for, from how long the last few took.

    Exposure is counted in model-intervals without a request. A span that ends now and began when the last few were
    still to come shortens when they come fast and goes on growing when none comes, so the estimate follows both.
    """

    def __init__(self) -> None:
        self._exposure = 0.0
        self._came: deque[float] = deque([0.0], maxlen=NEWCOMERS + 1)

    def close(self, unseen: int, came: int) -> None:
        """Take in one interval: how many models were unseen at its start, how many of them came."""
        for n in range(came):
            self._came.append(self._exposure + unseen * (n + 1.0) / came)
        self._exposure += unseen

    def hazards(self) -> Floats:
        """The chance of a first request in each window, given none before it."""
        chance = (len(self._came) - 0.5) / max(1.0, self._exposure - self._came[0] + 1.0)
        return np.asarray(1.0 - (1.0 - min(0.5, chance)) ** LENGTHS, dtype=np.float64)


def _logit(chance: Floats) -> Floats:
    clipped = np.clip(chance, 1e-3, 0.999)
    return np.asarray(np.log(clipped / (1.0 - clipped)), dtype=np.float64)


def _chance(logit: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -9.0, 9.0))), dtype=np.float64)


def _columns(values: NDArray[_Number], kept: NDArray[np.int64], fresh: float) -> NDArray[_Number]:
    """The last axis in another order; where `kept` is -1, a new column of `fresh`."""
    found = np.take(values, np.maximum(kept, 0), axis=-1) if values.shape[-1] else _none(values, len(kept))
    found[..., kept < 0] = fresh
    return found


def _none(values: NDArray[_Number], count: int) -> NDArray[_Number]:
    return np.zeros((*values.shape[:-1], count), values.dtype)


class _Gaps:
    """Gap histograms as hazards: how often a gap that reached an age ended there."""

    def __init__(self, models: int) -> None:
        self.age = np.full(models, -1)
        self._ended = np.zeros((models, GAPS), np.float32)
        self._reached = np.zeros((models, GAPS), np.float32)
        self._all_ended, self._all_reached = np.full(GAPS, 0.01), np.ones(GAPS)
        self._rows = np.arange(models)

    def hazard(self, age: NDArray[np.int64], strength: float) -> Floats:
        """The chance that the gap ends in its next interval; age -1 means never seen."""
        at = np.clip(age, 0, GAPS - 1)
        prior = self._all_ended[at] / self._all_reached[at]
        own = self._ended[self._rows, at] + strength * prior
        return np.asarray(np.where(age >= 0, own / (self._reached[self._rows, at] + strength), 1e-3))

    def close(self, active: NDArray[np.bool_], interval: int) -> None:
        """Take in one interval."""
        known = np.nonzero(self.age >= 0)[0]
        at, ended = np.minimum(self.age[known], GAPS - 1), active[known].astype(np.float32)
        self._reached[known, at] += 1.0
        self._ended[known, at] += ended
        np.add.at(self._all_reached, at, 1.0)
        np.add.at(self._all_ended, at, ended)
        self.age = np.where(active, 0, np.where(self.age >= 0, self.age + 1, -1))
        if interval % FORGET_EVERY == FORGET_EVERY - 1:
            self._forget(0.5 ** (FORGET_EVERY / FORGET_HALF_LIFE))

    def rearrange(self, kept: NDArray[np.int64]) -> None:
        """As `Forecaster.rearrange`."""
        self.age = _columns(self.age, kept, -1)
        self._ended = np.ascontiguousarray(_columns(self._ended.T, kept, 0.0).T)
        self._reached = np.ascontiguousarray(_columns(self._reached.T, kept, 0.0).T)
        self._rows = np.arange(len(kept))

    def _forget(self, kept: float) -> None:
        self._ended *= kept
        self._reached *= kept
        self._all_ended *= kept
        self._all_reached *= kept


class Forecaster:
    """Learns from counts per interval; gives an outlook at any moment within the present interval."""

    def __init__(self, models: int, interval_seconds: float = 60.0, start_seconds: float = 0.0) -> None:
        self._interval_seconds, self._start_seconds = interval_seconds, start_seconds
        self._models = models
        self._closed = 0
        self._ring = np.zeros((RING, models), np.uint8)
        self._gaps, self._newcomers = _Gaps(models), _Newcomers()
        self._averages = np.full((len(SCALES), models), UNSEEN_SHARE)
        self._steps = (1.0 - np.exp(-1.0 / SCALES))[:, None]
        self._burst = np.ones(models)
        self._now = np.zeros(models)
        inputs = 1 + len(STRENGTHS) + 2 + len(SCALES) + len(LAGS) + len(PERIODS) + len(FAR_PERIODS)
        self._weights, self._squares = np.zeros((inputs, WINDOWS)), np.ones((inputs, WINDOWS))
        self._weights[0], self._weights[1 : 1 + len(STRENGTHS)] = np.log(LENGTHS), 1.0 / len(STRENGTHS)
        self._asked: deque[tuple[int, NDArray[np.int64], Floats, NDArray[np.bool_]]] = deque(maxlen=int(EDGES[-1]) + 1)
        self._unused, self._used = self._predict()

    @property
    def interval_end_seconds(self) -> float:
        """When the present interval has to be closed."""
        return self._start_seconds + (self._closed + 1) * self._interval_seconds

    def add(self, counts: NDArray[np.int64] | Floats) -> None:
        """Take in requests of the present interval, one number a model."""
        self._now += counts

    @property
    def closed_intervals(self) -> int:
        """How many intervals were learned from."""
        return self._closed

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which models were ever asked for."""
        return np.logical_or(self._gaps.age >= 0, self._now > 0)

    def skip_intervals(self, count: int) -> None:
        """Nobody knows what was asked in the present interval and `count - 1` more: they teach nothing."""
        self._now = np.zeros(self._models)
        self._start_seconds += count * self._interval_seconds

    def rearrange(self, kept: NDArray[np.int64]) -> None:
        """Models came or went: `kept` has, for each model from now on, its number until now; -1: a new one."""
        numbers = {int(old): new for new, old in enumerate(kept) if old >= 0}
        self._models = len(kept)
        self._gaps.rearrange(kept)
        self._ring, self._averages = _columns(self._ring, kept, 0), _columns(self._averages, kept, UNSEEN_SHARE)
        self._burst, self._now = _columns(self._burst, kept, 1.0), _columns(self._now, kept, 0.0)
        for at, (closed, rows, inputs, seen) in enumerate(self._asked):
            stays = np.isin(rows, kept)
            found = np.array([numbers[row] for row in rows[stays].tolist()], dtype=np.int64)
            self._asked[at] = (closed, found, inputs[stays], seen[stays])
        self._unused, self._used = self._predict(to_learn=False)

    def close_interval(self) -> None:
        """The present interval is over: learn from it."""
        active = self._now > 0
        unseen = self._gaps.age < 0
        self._newcomers.close(int(unseen.sum()), int((unseen & active).sum()))
        self._ring[self._closed % RING] = active
        self._gaps.close(active, self._closed)
        self._averages += self._steps * (active - self._averages)
        self._burst = np.where(active, self._burst + BURST_STEP * (self._now - self._burst), self._burst)
        self._now = np.zeros(self._models)
        self._closed += 1
        self._learn()
        self._unused, self._used = self._predict()

    @property
    def burst_rates(self) -> Floats:
        """Further requests a second, once one has come."""
        return np.asarray(np.maximum(0.0, self._burst - 1.0) / self._interval_seconds)

    def outlook(self, now_seconds: float, load_seconds: Floats, fetch_share: Floats | float = 0.0) -> Outlook:
        """What is expected from now on. A model not asked for in this interval may still be, in what remains of it;
        one that was is next expected in the next, or sooner as its usual number of requests an interval says.

        `fetch_share`: what the load slot of a fetch costs, as a share of the miss that it is to spare.
        """
        left = max(0.0, self.interval_end_seconds - now_seconds)
        used = self._now > 0
        hazards = np.where(used[:, None], self._used, self._unused)
        gone = 1.0 - left / self._interval_seconds
        first = self._unused[:, 0]
        rest = first * (1.0 - gone) / np.maximum(1e-9, 1.0 - first * gone)
        hazards[:, 0] = np.where(used, hazards[:, 0], rest)
        offset, width = np.where(used, left, 0.0), np.where(used, self._interval_seconds, left)
        burst = self.burst_rates
        chance, too_early, held = _horizons(hazards, offset, width, load_seconds, self._interval_seconds)
        late = np.maximum(0.0, chance - (0.5 * too_early + fetch_share)[:, None])
        urgency, late_urgency = (chance / held).max(axis=1), (late / held).max(axis=1)
        again = np.where(used & (self._burst > self._now), burst, 0.0)
        late_again = again * np.maximum(0.0, 1.0 - fetch_share)
        return Outlook(now_seconds, np.maximum(urgency, again), np.maximum(late_urgency, late_again), burst)

    def chance_within(self, seconds: float) -> Floats:
        """The chance of a request within so many seconds from the start of the present interval."""
        reach = EDGES * self._interval_seconds
        share = np.clip((seconds - reach[:-1]) / np.diff(reach), 0.0, 1.0)
        return np.asarray(1.0 - np.prod(1.0 - self._unused * share, axis=1))

    def traffic(self, scale: int = 3) -> Traffic:
        """What was asked over one of the time scales (by default an hour), or for as long as it has watched.

        What an average begins with is taken off again: it is nobody's request, and would ask for pods.
        """
        left = float(np.exp(-self._closed / SCALES[scale]))
        step = float(self._steps[scale, 0])
        seen = np.maximum(0.0, self._averages[scale] - UNSEEN_SHARE * left)
        share = seen / max(step, 1.0 - left + IDLE_INTERVALS * step * left)
        return Traffic(share, self._burst.copy(), self._interval_seconds)

    def busy_rates_per_second(self) -> Floats:
        """Requests per second while a model is busy, for those that were busy lately; copies are made for these."""
        lately = self._averages[1] > LATELY_ACTIVE
        return np.asarray(np.where(lately, self._burst / self._interval_seconds, 0.0))

    def _predict(self, to_learn: bool = True) -> tuple[Floats, Floats]:
        """Hazards per window from the present interval on, and from the next on for models used in the present one."""
        inputs = self._inputs(self._closed, self._gaps.age, self._averages, False)
        seen = self._gaps.age >= 0
        if to_learn:
            rows = (self._closed * LEARNED_ROWS + np.arange(min(LEARNED_ROWS, self._models))) % max(1, self._models)
            self._asked.append((self._closed, rows, inputs[rows], seen[rows]))
        unused = _chance(inputs @ self._weights)
        unused[~seen] = self._newcomers.hazards()
        after = self._averages + self._steps * (1.0 - self._averages)
        used = self._inputs(self._closed + 1, np.zeros(self._models, np.int64), after, True)
        return unused, _chance(used @ self._weights)

    def _inputs(self, before: int, age: NDArray[np.int64], averages: Floats, just_used: bool) -> Floats:
        """One row a model, from what happened before interval `before`; `just_used`: the last one counts as active."""
        ring = self._ring
        last = np.ones(self._models, np.uint8) if just_used else ring[(before - 1) % RING]

        def at(lag: int) -> NDArray[np.uint8]:
            return last if lag == 1 else ring[(before - lag) % RING]

        columns = [np.ones(self._models)]
        columns += [_logit(self._gaps.hazard(age, strength)) for strength in STRENGTHS]
        columns.append(_logit(self._gaps.hazard(np.where(age >= 0, age + 1, -1), 2.0)))
        columns.append(np.log1p(np.maximum(age, 0)) / 5.0)
        columns += list(_logit(averages))
        columns += [at(lag).astype(float) for lag in LAGS]
        columns += [sum((at(n * p) for n in range(1, 7)), np.zeros(self._models)) / 6.0 for p in PERIODS]
        for period in FAR_PERIODS:
            around = [np.maximum.reduce([at(max(1, n * period + d)) for d in range(-2, 3)]) for n in (1, 2)]
            columns.append((around[0].astype(float) + around[1]) / 2.0)
        return np.stack(columns, axis=1)

    def _learn(self) -> None:
        """Each window that ended with the last interval teaches the weights that predicted it."""
        oldest = self._asked[0][0]
        for window in range(WINDOWS):
            asked_at = self._closed - int(EDGES[window + 1])
            if asked_at < oldest:
                break
            _, rows, inputs, seen = self._asked[asked_at - oldest]
            since = self._ring[np.arange(asked_at, self._closed) % RING][:, rows]
            start = int(EDGES[window])
            at_risk = np.logical_and(seen, ~np.any(since[:start], axis=0))
            if at_risk.any():
                came = np.any(since[start:], axis=0)
                self._teach(window, inputs[at_risk], came[at_risk])

    def _teach(self, window: int, inputs: Floats, came: NDArray[np.bool_]) -> None:
        error = _chance(inputs @ self._weights[:, window]) - came
        gradient = inputs.T @ error
        self._squares[:, window] += gradient * gradient
        self._weights[:, window] -= LEARNING_RATE * gradient / np.sqrt(self._squares[:, window])


def is_known(forecaster: Forecaster) -> NDArray[np.bool_]:
    """The models of which something can be said."""
    return np.logical_or(forecaster.seen, forecaster.closed_intervals >= WARM_INTERVALS)


def _horizons(
    hazards: Floats, offset: Floats, width: Floats, load_seconds: Floats, interval_seconds: float
) -> tuple[Floats, Floats, Floats]:
    """For all horizons, the chance of a request and the expected seconds until it or the horizon; windows begin at
    `offset`. And the chance of one that comes before a load that begins now is done.
    """
    widths, before = np.empty(hazards.shape), np.ones(hazards.shape)
    widths[:], widths[:, 0] = LENGTHS * interval_seconds, width
    survival = np.cumprod(1.0 - hazards, axis=1)
    before[:, 1:] = survival[:, :-1]
    held = np.maximum(1.0, offset[:, None] + np.cumsum((before + survival) / 2.0 * widths, axis=1))
    too_early = hazards[:, 0] * np.minimum(1.0, np.maximum(0.0, (load_seconds - offset) / np.maximum(width, 1e-3)))
    return np.asarray(1.0 - survival), too_early, np.asarray(held)
