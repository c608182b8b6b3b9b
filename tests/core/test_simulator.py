"""The simulated pool: budgets, waiting, folding, and the policies that play it."""

import numpy as np
import pytest

from larder.core.simulation.attainment import attained, standard_objectives
from larder.core.simulation.caching import Caching
from larder.core.simulation.larder import LarderPolicy, Options
from larder.core.simulation.policies import POLICIES, make_policy
from larder.core.simulation.ranking import Lru
from larder.core.simulation.synthetic import KINDS
from larder.core.simulation.workload import Arrivals, Workload, spread
from larder.core.simulation.world import Hardware, World


def workload(*arrivals: list[float], size: int = 10, load: float = 5.0, duration: float = 1000.0) -> Workload:
    count = len(arrivals)
    times = tuple(np.array(a, dtype=float) for a in arrivals)
    names = tuple(f"m{n}" for n in range(count))
    return Workload(names, (size,) * count, (load,) * count, (0.1,) * count, times, duration)


def small_trace(kind: str = "timers", models: int = 12, minutes: int = 60) -> Workload:
    rng = np.random.default_rng(7)
    times = spread(KINDS[kind](models, minutes, rng), Arrivals.EVEN, rng)
    sizes = tuple(int(s) for s in rng.integers(5, 20, models))
    loads = tuple(float(s) for s in rng.uniform(2, 9, models))
    return Workload(tuple(f"m{n}" for n in range(models)), sizes, loads, (0.1,) * models, times, minutes * 60.0)


def test_requests_wait_for_the_end_of_the_load_that_the_first_of_them_began() -> None:
    ledger = World(workload([10.0, 12.0, 100.0]), Hardware(100, 1)).run(Caching(Lru()))
    assert ledger.loads == 1
    assert ledger.cold_requests == 2
    assert ledger.added_latency_seconds == pytest.approx(5.0 + 3.0)


def test_the_least_recently_used_model_leaves_and_is_loaded_again() -> None:
    ledger = World(workload([10.0, 100.0], [20.0, 101.0], [90.0]), Hardware(20, 1)).run(Caching(Lru()))
    assert ledger.evictions == 3
    assert ledger.loads == 5


def test_a_hot_request_is_no_event_and_still_counts_as_a_use() -> None:
    world = World(workload([10.0, *np.arange(20.0, 900.0).tolist()]), Hardware(100, 1))
    ledger = world.run(Caching(Lru()))
    assert ledger.loads == 1
    assert world.uses(0) == 881


def test_a_load_that_fails_is_tried_again_while_requests_wait() -> None:
    hardware = Hardware(100, 1, load_failure_share=0.5)
    ledger = World(workload([10.0]), hardware, np.random.default_rng(3)).run(Caching(Lru()))
    assert ledger.loads == ledger.failed_loads + 1
    assert ledger.cold_requests == 1


def test_requests_give_up_after_the_longest_hold() -> None:
    ledger = World(workload([10.0], load=50.0), Hardware(100, 1, hold_seconds=20.0)).run(Caching(Lru()))
    assert ledger.added_latency_seconds == pytest.approx(20.0)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_serves_every_request_within_the_budget(name: str) -> None:
    trace = small_trace()
    world = World(trace, Hardware(30, 2))
    ledger = world.run(make_policy(name, trace))
    for pod, models in world.pods.items():
        assert sum(trace.sizes_bytes[m] for m in models) + world.free[pod] == 30
    assert all(world.ready[m] or world.served[m] == len(world.arrivals[m]) for m in range(len(trace.names)))
    assert ledger.loads >= len(trace.names)


@pytest.mark.parametrize("name", ["larder", "lhd", "hybrid-histogram"])
def test_a_run_repeats_exactly(name: str) -> None:
    trace = small_trace("bursts")
    runs = [World(trace, Hardware(30, 2)).run(make_policy(name, trace)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_knowing_the_future_costs_least() -> None:
    trace = small_trace()
    costs = {n: World(trace, Hardware(30, 2)).run(make_policy(n, trace)).added_latency_seconds for n in POLICIES}
    assert costs["belady-prefetch"] == min(costs.values())


def test_larder_learns_timers_better_than_recency_does() -> None:
    trace = small_trace("timers", models=30, minutes=300)
    costs = {}
    for name in ("larder", "lru", "cremebrulee-decay"):
        costs[name] = World(trace, Hardware(45, 2)).run(make_policy(name, trace)).added_latency_seconds
    assert costs["larder"] < 0.8 * min(costs["lru"], costs["cremebrulee-decay"])


def test_attainment_counts_a_cold_request_against_its_longer_limit() -> None:
    trace = workload([10.0, 100.0], [20.0], [30.0])
    ledger = World(trace, Hardware(100, 1)).run(Caching(Lru()))
    # In turn 1.5 x, 3 x the load time, and nothing beyond the latency: the third model's only request misses.
    assert attained(trace, ledger, standard_objectives(trace)) == pytest.approx(3 / 4)


def test_the_autoscaler_adds_pods_until_what_it_predicts_holds() -> None:
    trace = small_trace("zipf", models=20, minutes=240)
    options = Options(objectives=standard_objectives(trace), target_attainment=0.98, most_pods=8)
    world = World(trace, Hardware(30, 1, start_seconds=60.0))
    world.run(LarderPolicy(trace, options))
    assert 1 < len(world.pods) <= 8


def test_as_in_the_operator_nothing_is_fetched_that_nobody_has_asked_for_yet() -> None:
    trace = workload(*[[30.0 * n + 7.0 * m for n in range(60)] for m in range(5)], [1500.0], duration=2000.0)
    ledger = World(trace, Hardware(100, 1)).run(LarderPolicy(trace, Options(as_in_operator=True)))
    assert min(ready for model, _, ready, _ in ledger.residences if model == 5) >= 1500.0


def test_as_in_the_operator_a_burst_brings_a_pod_within_seconds() -> None:
    trace = workload([*np.arange(5.0, 300.0, 20.0), *np.arange(300.0, 400.0, 0.06)], load=2.0, duration=400.0)
    told = Options(standard_objectives(trace), 0.0, 0.99, most_pods=3, scale_every_seconds=2.0, as_in_operator=True)
    world = World(trace, Hardware(100, 1, start_seconds=5.0))
    policy = LarderPolicy(trace, told)
    world.run(policy)
    assert 300.0 < sorted(world.born.values())[1] < 320.0
    (at_seconds, why), *_ = policy.resizings
    assert 300.0 < at_seconds < 320.0
    assert "from 1 to 2 pods" in why


def test_as_in_the_operator_times_of_a_model_are_known_from_its_first_load_on() -> None:
    trace = workload([10.0], [500.0], load=7.0, duration=100.0)
    policy = LarderPolicy(trace, Options(as_in_operator=True))
    World(trace, Hardware(100, 1)).run(policy)
    known = {name: model.load_seconds and model.load_seconds.mean for name, model in policy._models.items()}
    assert list(known.values()) == [7.0, None]


@pytest.mark.parametrize("kind", list(Arrivals))
def test_requests_stay_within_their_minute(kind: Arrivals) -> None:
    counts = np.array([[3, 0, 2]])
    (times,) = spread(counts, kind, np.random.default_rng(1))
    assert np.bincount((times // 60).astype(int), minlength=3).tolist() == [3, 0, 2]
    assert np.all(np.diff(times) >= 0)
