"""The forecast: timers are learned, the past is forgotten, memory is bounded."""

from itertools import pairwise

import numpy as np
import pytest

from larder.core.appraisal import Traffic
from larder.core.attainment import Fleet, Needs, miss_shares, predict
from larder.core.autoscaler import SETTLE_SECONDS, Limits, desired_pods
from larder.core.forecast import Forecaster
from larder.core.outlook import appraise, lateness, make_catalog
from larder.core.snapshot import Objective
from tests.core.builders import model, seconds


def taught(intervals: int, period: int = 5) -> Forecaster:
    """Model 0 ticks every `period` intervals, model 1 at random, model 2 never."""
    rng, forecaster = np.random.default_rng(0), Forecaster(3)
    for n in range(intervals):
        forecaster.add(np.array([n % period == 0, rng.random() < 0.2, False], dtype=float))
        forecaster.close_interval()
    return forecaster


def test_a_timer_is_expected_when_it_is_due_and_not_before() -> None:
    before, due = taught(603), taught(605)
    assert before.chance_within(60.0)[0] < 0.2
    assert due.chance_within(60.0)[0] > 0.8
    assert before.outlook(603 * 60.0, np.ones(3)).urgency[0] < due.outlook(605 * 60.0, np.ones(3)).urgency[0]


def test_traffic_is_what_was_asked_and_nothing_that_averages_begin_with() -> None:
    fresh = Forecaster(3)
    assert not fresh.traffic().active_share.any()
    often, sometimes, never = taught(10).traffic().active_share
    assert 0.1 < sometimes / often < 10
    assert never == pytest.approx(0.0, abs=1e-9)
    assert taught(1).traffic().active_share[0] < 0.5 < taught(10, period=1).traffic().active_share[0]
    long = taught(2000)
    assert long.traffic().active_share[0] == pytest.approx(0.2, abs=0.05)


def test_what_was_never_asked_for_is_expected_the_less_the_longer_nothing_new_came() -> None:
    soon, late = (taught(n).chance_within(600.0)[2] for n in (100, 400))
    assert late < 0.1 < soon < 0.3


def test_a_chance_grows_with_the_horizon() -> None:
    forecaster = taught(200)
    chances = [forecaster.chance_within(h) for h in (30.0, 60.0, 600.0, 3600.0)]
    assert all(np.all(a <= b) for a, b in pairwise(chances))


def test_fetching_is_never_worth_more_than_keeping() -> None:
    forecaster = taught(300)
    outlook = forecaster.outlook(300 * 60.0 + 20.0, np.full(3, 10.0))
    assert np.all(outlook.late_urgency <= outlook.urgency + 1e-12)


def test_a_model_without_slack_costs_more_to_miss_than_one_with() -> None:
    tight, loose = Objective(0.5, 99.0, 6.0), Objective(0.5, 99.0, 30.0)
    declared = {
        name: model(name, objective=objective, load_seconds=seconds(5.0))
        for name, objective in (("tight", tight), ("loose", loose), ("zzz", Objective()))
    }
    catalog = make_catalog(declared, 1, 1.0)
    worth = appraise(catalog, taught(100).outlook(6000.0, catalog.load_seconds))
    cost = worth.keep / taught(100).outlook(6000.0, catalog.load_seconds).urgency
    assert cost[catalog.index["tight"]] > 2 * cost[catalog.index["loose"]]
    assert lateness(Objective(0.5), 5.0) == 1.0


def needs(count: int, latency: float = 0.5, cold: float = 0.0) -> Needs:
    return Needs(np.full(count, 0.1), np.full(count, latency), np.full(count, cold), np.full(count, 0.7))


def test_predicted_attainment_grows_with_pods_and_reaches_one() -> None:
    declared = {f"m{n:02d}": model(f"m{n:02d}", 10, load_seconds=seconds(5.0)) for n in range(20)}
    catalog, traffic = make_catalog(declared, 1, 1.0), Traffic(np.linspace(0.01, 0.9, 20), np.ones(20))
    shares = [predict(catalog, traffic, needs(20), Fleet(pods, 50 * 2**20, 2)) for pods in (0, 1, 2, 3, 5)]
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] > 0.999
    assert np.all(miss_shares(catalog, traffic, 10 * 2**20) >= 0)


def test_pods_are_added_at_once_and_removed_one_by_one_after_a_while() -> None:
    limits = Limits(1, 20, 0.99)
    assert desired_pods(lambda pods: float(pods >= 7), 4, limits, 0.0) == 7
    assert desired_pods(lambda pods: float(pods >= 19), 4, limits, 0.0) == 8
    assert desired_pods(lambda pods: 1.0, 4, limits, SETTLE_SECONDS) == 3
    assert desired_pods(lambda pods: 1.0, 4, limits, SETTLE_SECONDS - 1) == 4
    assert desired_pods(lambda pods: 0.0, 30, limits, 0.0) == 20
