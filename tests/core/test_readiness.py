"""When a model that is waited for will be ready."""

from dataclasses import replace

import pytest

from larder.core.readiness import ready_in_seconds
from larder.core.snapshot import (
    Measured,
    Model,
    Placement,
    PlacementState,
    Pod,
    PodState,
    Settings,
    Snapshot,
    Waiting,
)

NOW = 100.0


def snapshot(models, placements=(), waiting=(), loads_at_once=1, **more):
    known = {
        name: Model(name, 10, load_seconds=None if seconds is None else Measured(seconds, 0.0, 1, 0.0), **more)
        for name, seconds in models.items()
    }
    held = {name: Waiting(name, 1, NOW - age, NOW + 60.0) for name, age in dict(waiting).items()}
    pods = {"p": Pod("p", PodState.SERVING, 1000)}
    return Snapshot(Settings(10, loads_at_once=loads_at_once), known, pods, tuple(placements), held)


def loading(model, since):
    return Placement(model, "p", PlacementState.LOADING, 10, since)


def test_a_model_that_loads_needs_what_is_left_of_its_load():
    there = snapshot({"a": 5.0}, [loading("a", NOW - 2.0)], {"a": 2.0})
    assert ready_in_seconds(there, NOW) == {"a": pytest.approx(3.0)}


def test_one_that_waits_for_a_slot_needs_its_load_after_those_before_it():
    there = snapshot({"a": 5.0, "b": 2.0, "c": 4.0}, [loading("a", NOW - 2.0)], {"a": 2.0, "b": 1.5, "c": 1.0})
    assert ready_in_seconds(there, NOW) == {
        "a": pytest.approx(3.0),
        "b": pytest.approx(3.0 + 2.0),
        "c": pytest.approx(3.0 + 2.0 + 4.0),
    }


def test_where_a_slot_is_free_it_needs_its_own_load():
    there = snapshot({"a": 5.0, "b": 2.0}, [loading("a", NOW - 2.0)], {"b": 1.0}, loads_at_once=2)
    assert ready_in_seconds(there, NOW) == {"b": pytest.approx(2.0)}


def test_a_load_that_failed_comes_after_its_pause():
    there = snapshot({"a": 5.0}, (), {"a": 1.0}, retry_at_seconds=NOW + 7.0)
    assert ready_in_seconds(there, NOW) == {"a": pytest.approx(12.0)}


def test_nothing_is_said_of_a_load_that_was_never_measured_or_takes_longer_than_ever():
    there = snapshot({"a": None, "b": 2.0}, [loading("b", NOW - 9.0)], {"a": 1.0, "b": 9.0})
    assert ready_in_seconds(there, NOW) == {}


def test_nothing_is_said_of_a_model_that_has_a_copy():
    there = snapshot({"a": 5.0}, [Placement("a", "p", PlacementState.READY, 10, 0.0)], {"a": 1.0})
    assert ready_in_seconds(there, NOW) == {}


def test_where_no_pod_serves_what_a_pod_takes_to_start_comes_first():
    asleep = replace(snapshot({"a": 5.0}, waiting={"a": 2.0}), pods={}, start_seconds=Measured(8.0, 0.0, 1, 0.0))
    assert ready_in_seconds(asleep, NOW) == {"a": pytest.approx(13.0)}
    starting = {"p": Pod("p", PodState.STARTING, 1000, since_seconds=NOW - 6.0)}
    assert ready_in_seconds(replace(asleep, pods=starting), NOW) == {"a": pytest.approx(7.0)}


def test_nothing_is_said_while_a_pod_takes_longer_to_start_than_ever_or_none_was_seen_to_start():
    asleep = replace(snapshot({"a": 5.0}, waiting={"a": 2.0}), pods={})
    assert ready_in_seconds(asleep, NOW) == {}
    late = {"p": Pod("p", PodState.STARTING, 1000, since_seconds=NOW - 9.0)}
    measured = Measured(8.0, 0.0, 1, 0.0)
    assert ready_in_seconds(replace(asleep, pods=late, start_seconds=measured), NOW) == {}
