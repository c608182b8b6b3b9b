"""Documented synthetic traces, for those who have none, and to see whether a policy holds elsewhere.

Each is a matrix of counts, models x minutes. Popularity follows a Zipf law with exponent 1 (Breslau et al. 1999).
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
REQUESTS_PER_MINUTE = 1.0
"""Of the mean model."""


def _popularity(models: int, rng: np.random.Generator) -> NDArray[np.float64]:
    weights = 1.0 / np.arange(1, models + 1)
    return np.asarray(rng.permutation(weights / weights.mean() * REQUESTS_PER_MINUTE))


def zipf(models: int, minutes: int, rng: np.random.Generator) -> Counts:
    """Independent Poisson requests at constant Zipf rates: nothing to learn but the rates."""
    return np.asarray(rng.poisson(_popularity(models, rng)[:, None], (models, minutes)))


def daily(models: int, minutes: int, rng: np.random.Generator) -> Counts:
    """Zipf rates that follow a daily curve, each model with its own peak hour."""
    peak = rng.uniform(0.0, 1440.0, models)[:, None]
    curve = np.maximum(0.0, np.cos((np.arange(minutes)[None, :] - peak) / 1440.0 * 2.0 * np.pi)) ** 2
    return np.asarray(rng.poisson(4.0 * curve * _popularity(models, rng)[:, None]))


def bursts(models: int, minutes: int, rng: np.random.Generator) -> Counts:
    """Models sleep for hours and then are busy for some minutes: geometric on and off times."""
    rates = _popularity(models, rng)
    counts = np.zeros((models, minutes), dtype=np.int64)
    on = rng.random(models) < 0.05
    for minute in range(minutes):
        on = np.where(on, rng.random(models) > 1.0 / 10.0, rng.random(models) < 1.0 / 190.0)
        counts[:, minute] = rng.poisson(np.where(on, 20.0 * rates, 0.0))
    return counts


def timers(models: int, minutes: int, rng: np.random.Generator) -> Counts:
    """Cron jobs: one request every 1 to 60 minutes, each with its own offset; a tenth of the ticks is skipped."""
    periods = rng.choice([1, 2, 5, 10, 15, 30, 60], models)[:, None]
    offsets = rng.integers(0, 60, models)[:, None]
    due = (np.arange(minutes)[None, :] + offsets) % periods == 0
    return np.asarray(due & (rng.random((models, minutes)) > 0.1), dtype=np.int64)


def drift(models: int, minutes: int, rng: np.random.Generator) -> Counts:
    """Zipf rates that are dealt anew to all models every two hours: yesterday's favourites mean nothing."""
    blocks = [_popularity(models, rng) for _ in range(minutes // 120 + 1)]
    rates = np.stack([blocks[minute // 120] for minute in range(minutes)], axis=1)
    return np.asarray(rng.poisson(rates))


def scans(models: int, minutes: int, rng: np.random.Generator) -> Counts:
    """Zipf requests of a third of the models, and every half hour somebody asks for each of the others once."""
    counts = zipf(models, minutes, rng)
    scanned = np.arange(models) % 3 > 0
    counts[scanned] = 0
    for minute in range(29, minutes, 30):
        counts[scanned, minute] = 1
    return counts


KINDS: Final[dict[str, Callable[[int, int, np.random.Generator], Counts]]] = {
    "zipf": zipf,
    "daily": daily,
    "bursts": bursts,
    "timers": timers,
    "drift": drift,
    "scans": scans,
}
