"""What a pool has to hold, and what it says when it can't."""

from dataclasses import replace

import numpy as np

from larder.core.appraisal import Traffic
from larder.core.attainment import Fleet, Needs, predict, with_present_rates
from larder.core.objectives import judge, target_attainment
from larder.core.outlook import Outlook, appraise, make_catalog
from larder.core.sizing import needs_of
from larder.core.snapshot import Objective
from tests.core.builders import model, pod, seconds, snapshot


def pool(rate, models=2, most=2, latency=0.2, target=0.99):
    """Models of 10 MB on one pod of 200 MB, executed in 0.1 s; the first is asked `rate` times a second."""
    objective = Objective(latency, 99.0, 30.0)
    declared = [
        model(f"m{n}", objective=objective, load_seconds=seconds(1.0), execution_seconds=seconds(0.1))
        for n in range(models)
    ]
    plain = snapshot(declared, [pod("p0", 200)], max_pods=most, target_attainment=target)
    catalog = make_catalog(plain.models, 1, 1.0)
    nothing = np.zeros(models)
    rates = np.array([rate, *[0.01] * (models - 1)])
    traffic = Traffic(np.ones(models), rates * 60.0)
    return replace(plain, appraisal=appraise(catalog, Outlook(0.0, nothing, nothing, nothing)), traffic=traffic)


def verdict(given):
    return judge(given, needs_of(given.appraisal.catalog, given))


def test_the_target_weighs_percentiles_by_how_much_models_are_asked():
    objectives = [Objective(0.1, 90.0), Objective(0.1, 99.0)]
    assert target_attainment(objectives, Traffic(np.ones(2), np.array([10.0, 10.0]))) == 0.945
    assert target_attainment(objectives, Traffic(np.ones(2), np.array([0.0, 5.0]))) == 0.99


def test_what_has_no_objective_may_not_miss_for_another():
    objectives = [Objective(), Objective(0.1, 90.0)]
    assert target_attainment(objectives, Traffic(np.ones(2), np.array([30.0, 10.0]))) == 0.975


def test_nothing_is_to_hold_where_no_model_has_an_objective():
    assert target_attainment([Objective(), Objective()], Traffic(np.ones(2), np.ones(2))) is None


def test_an_idle_pool_has_the_strictest_percentile_as_its_target():
    objectives = [Objective(0.1, 90.0), Objective(0.1, 50.0)]
    assert target_attainment(objectives, Traffic(np.zeros(2), np.ones(2))) == 0.5


def test_objectives_that_the_most_pods_meet_are_feasible():
    found = verdict(pool(rate=3.0))
    assert found.is_feasible
    assert found.pods_needed is None


def test_objectives_that_the_most_pods_miss_are_named_with_the_pods_it_would_take():
    given = pool(rate=60.0)
    found = verdict(given)
    assert not found.is_feasible
    assert found.model == "m0"
    needs, catalog = needs_of(given.appraisal.catalog, given), given.appraisal.catalog
    capacity = given.pods["p0"].capacity_bytes
    enough, fewer = (
        predict(catalog, given.traffic, needs, Fleet(pods, capacity, 2))
        for pods in (found.pods_needed, found.pods_needed - 1)
    )
    assert enough >= found.target > fewer


def test_objectives_that_no_number_of_pods_meets_have_none():
    assert verdict(pool(rate=1.0, latency=0.05, most=1, target=0.999999)).pods_needed is None


def test_more_requests_than_all_pods_can_execute_are_predicted_to_miss():
    catalog = make_catalog({"a": model("a", load_seconds=seconds(1.0))}, 1, 1.0)
    needs = Needs(np.array([0.1]), np.array([1.0]), np.array([30.0]), np.array([0.7]))
    overload = Traffic(np.ones(1), np.array([60.0 * 40.0]))
    shares = [predict(catalog, overload, needs, Fleet(pods, 2**30, 2)) for pods in (1, 2, 4, 8)]
    assert shares == sorted(shares)
    assert shares[0] < 0.3
    assert shares[-1] > 0.99


def test_a_burst_counts_from_the_seconds_in_which_it_is_seen():
    usual = Traffic(np.full(2, 0.1), np.full(2, 6.0))
    found = with_present_rates(usual, np.array([20.0, 0.1]))
    assert found.active_share.tolist() == [1.0, 0.1]
    assert 900.0 < found.burst[0] < 1200.0
    assert found.burst[1] == 6.0


def test_a_single_request_is_no_burst():
    quiet = Traffic(np.full(1, 0.01), np.ones(1))
    assert with_present_rates(quiet, np.array([0.095])).burst[0] == 1.0
