"""The forecast of a pool whose models change, and of time that nobody watched."""

import numpy as np

from larder.core.forecast import Forecaster


def taught(order=(0, 1, 2), intervals=60):
    """Model 0 is asked every 5 intervals, model 1 every 3, model 2 never; columns in the order given."""
    forecaster = Forecaster(3)
    for n in range(intervals):
        counts = np.array([n % 5 == 0, n % 3 == 0, False], dtype=float)
        forecaster.add(counts[list(order)])
        forecaster.close_interval()
    return forecaster


def test_what_is_known_of_models_that_stay_stays():
    forecaster = taught()
    before = forecaster.chance_within(300.0)
    forecaster.rearrange(np.array([-1, 1, 0]))
    after = forecaster.chance_within(300.0)
    assert np.allclose(after[1:], before[[1, 0]])
    assert after[0] < min(after[1:])
    assert forecaster.seen.tolist() == [False, True, True]


def test_learning_goes_on_after_a_change():
    forecaster = taught(intervals=200)
    for turn in range(60):
        forecaster.rearrange(np.array([0, 1, 2] if turn % 2 else [2, 1, 0]))
        forecaster.add(np.array([1.0, 0.0, 0.0]))
        forecaster.close_interval()
    assert np.all(np.isfinite(forecaster.chance_within(60.0)))


def test_a_pool_may_begin_without_models_and_lose_all():
    forecaster = Forecaster(0)
    forecaster.close_interval()
    forecaster.rearrange(np.array([-1, -1]))
    forecaster.add(np.array([1.0, 0.0]))
    forecaster.close_interval()
    assert forecaster.seen.tolist() == [True, False]
    forecaster.rearrange(np.array([], dtype=np.int64))
    forecaster.close_interval()


def test_time_that_nobody_watched_teaches_nothing():
    forecaster = taught()
    before, end = forecaster.chance_within(300.0), forecaster.interval_end_seconds
    forecaster.skip_intervals(100)
    assert np.allclose(forecaster.chance_within(300.0), before)
    assert forecaster.interval_end_seconds == end + 6000.0
    assert forecaster.closed_intervals == 60
