"""What was seen with a number of pods corrects what is predicted for it."""

from dataclasses import replace

import numpy as np
import pytest

from larder.core.appraisal import Traffic
from larder.core.outlook import Outlook, appraise, make_catalog
from larder.core.plan import Retire, Scale
from larder.core.planner import plan
from larder.core.shortfall import MOST, Shortfalls, corrected, settled_pods
from larder.core.simulation.caching import Caching
from larder.core.simulation.larder import Counted
from larder.core.simulation.ranking import Lru
from larder.core.simulation.workload import Workload
from larder.core.simulation.world import Hardware, World
from larder.core.snapshot import Objective, PodState, Snapshot
from tests.core.builders import NOW, model, pod, seconds, snapshot


def steady(pods: int) -> Snapshot:
    """A pool of which one pod is predicted to hold the target."""
    models = [model(name, 60, objective=Objective(0.1), load_seconds=seconds(1.0)) for name in "abcd"]
    names = "pqr"[:pods]
    seen = snapshot(models, [pod(n) for n in names], asked_pods=pods, max_pods=3, target_attainment=0.5)
    catalog = make_catalog(seen.models, 1, 1.0)
    appraisal = appraise(catalog, Outlook(NOW, np.zeros(4), np.zeros(4), np.zeros(4)))
    return replace(seen, appraisal=appraisal, traffic=Traffic(np.array([0.9, 0.02, 0.02, 0.02]), np.full(4, 1.0)))


def test_as_many_misses_as_foretold_change_nothing() -> None:
    shortfalls = Shortfalls(60.0)
    shortfalls.take(0.0, 2, 1000, 10, 0.99)
    assert shortfalls.factors(0.0) == {2: pytest.approx(1.0)}
    assert corrected(0.99, 1.0) == pytest.approx(0.99)


def test_a_number_of_pods_that_falls_short_is_corrected_alone_and_never_beyond_bounds() -> None:
    shortfalls = Shortfalls(60.0)
    shortfalls.take(0.0, 1, 1000, 40, 0.995)
    assert 3.0 < shortfalls.factors(0.0)[1] < 4.0
    assert 2 not in shortfalls.factors(0.0)
    shortfalls.take(0.0, 1, 10_000, 10_000, 1.0)
    assert shortfalls.factors(0.0)[1] == MOST
    assert corrected(0.5, MOST) == 0.0


def test_evidence_fades_so_that_a_number_of_pods_is_tried_again() -> None:
    shortfalls = Shortfalls(60.0)
    shortfalls.take(0.0, 1, 1000, 40, 0.995)
    now, hours = (shortfalls.factors(at)[1] for at in (0.0, 6 * 3600.0))
    assert now > 3.0
    assert hours == pytest.approx(1.0, abs=0.05)


def test_nothing_is_learned_of_a_number_of_pods_while_pods_come_or_go() -> None:
    seen = steady(2)
    assert settled_pods(seen) == 2
    assert settled_pods(replace(seen, asked_pods=3)) is None
    retiring = {**seen.pods, "q": pod("q", state=PodState.RETIRING)}
    assert settled_pods(replace(seen, pods=retiring)) is None


def test_a_pool_gets_a_pod_where_its_number_was_seen_to_fall_short_and_keeps_it_while_that_is_remembered() -> None:
    alone = steady(1)
    assert not [a for a in plan(alone, NOW).actions if isinstance(a, Scale)]
    (step,) = [a for a in plan(replace(alone, shortfalls={1: 8.0}), NOW).actions if isinstance(a, Scale)]
    assert step.pods > 1
    two = steady(2)
    assert any(isinstance(a, Retire) for a in plan(two, NOW).actions)
    assert not any(isinstance(a, Retire) for a in plan(replace(two, shortfalls={1: 8.0}), NOW).actions)


def test_the_simulator_counts_cold_requests_that_waited_too_long() -> None:
    trace = Workload(("a",), (10,), (5.0,), (0.1,), (np.array([10.0, 12.0, 14.9, 50.0]),), 100.0)
    world = World(trace, Hardware(100, 1))
    world.run(Caching(Lru()))
    counted = Counted(trace, (Objective(0.5),))
    assert counted.since_last(world) == (4, 2)
    assert counted.since_last(world) == (0, 0)
