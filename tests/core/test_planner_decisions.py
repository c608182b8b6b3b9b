"""What the planner decides, as a table of small situations."""

from larder.core.plan import Drain, Load, Plan, Reason, Scale
from larder.core.planner import plan
from larder.core.snapshot import PlacementState, PodState, Snapshot
from tests.core.builders import MB, NOW, model, placed, pod, seconds, snapshot, waiting


def decide(seen: Snapshot) -> Plan:
    return plan(seen, NOW)


def loads(decided: Plan) -> list[tuple[str, str, Reason]]:
    return [(a.model, a.pod, a.reason) for a in decided.actions if isinstance(a, Load)]


def drains(decided: Plan) -> list[tuple[str, str, Reason]]:
    return [(a.model, a.pod, a.reason) for a in decided.actions if isinstance(a, Drain)]


def test_a_cold_request_loads_its_model_into_free_memory() -> None:
    decided = decide(snapshot([model("a")], [pod("p")], held=[waiting("a", since=NOW - 0.5)]))
    assert loads(decided) == [("a", "p", Reason.COLD_REQUEST)]
    assert "1 waiting, the oldest for 0.500 s" in decided.actions[0].message
    assert "10Mi of 20Mi free" in decided.actions[0].message


def test_nothing_is_loaded_for_a_model_that_is_loading_or_ready() -> None:
    for state in (PlacementState.LOADING, PlacementState.READY):
        seen = snapshot([model("a")], [pod("p"), pod("q")], [placed("a", "p", state=state)], [waiting("a")])
        assert decide(seen).actions == ()


def test_a_model_that_is_unloading_is_loaded_on_another_pod_at_once_and_never_on_the_same() -> None:
    gone = placed("a", "p", state=PlacementState.UNLOADING)
    assert loads(decide(snapshot([model("a")], [pod("p"), pod("q")], [gone], [waiting("a")]))) == [
        ("a", "q", Reason.COLD_REQUEST)
    ]
    assert decide(snapshot([model("a")], [pod("p", 100)], [gone], [waiting("a")])).actions == ()


def test_priority_then_the_earliest_deadline_is_served_first() -> None:
    models = [model("a"), model("b"), model("c", priority=1)]
    held = [waiting("a", deadline=NOW + 9), waiting("b", deadline=NOW + 5), waiting("c")]
    decided = decide(snapshot(models, [pod("p", 100)], held=held, loads_at_once=2))
    assert [name for name, _, _ in loads(decided)] == ["c", "b"]


def test_the_least_valuable_model_leaves_when_memory_is_short() -> None:
    ready = [placed("old", "p", used=NOW - 500), placed("new", "p", used=NOW - 1)]
    decided = decide(snapshot([model("a"), model("old"), model("new")], [pod("p")], ready, [waiting("a")]))
    assert drains(decided) == [("old", "p", Reason.MEMORY_PRESSURE)]
    assert decided.actions[0].for_model == "a"  # type: ignore[union-attr]
    assert loads(decided) == []


def test_among_models_of_one_rate_the_one_that_loads_fastest_leaves() -> None:
    ready = [placed("slow", "p", used=NOW - 50), placed("fast", "p", used=NOW - 50)]
    models = [model("a"), model("slow", load_seconds=seconds(20)), model("fast", load_seconds=seconds(1))]
    assert drains(decide(snapshot(models, [pod("p")], ready, [waiting("a")])))[0][0] == "fast"


def test_no_more_is_evicted_while_enough_is_on_its_way_out() -> None:
    for state in (PlacementState.DRAINING, PlacementState.UNLOADING):
        there = [placed("x", "p", state=state), placed("y", "p")]
        decided = decide(snapshot([model("a"), model("x"), model("y")], [pod("p")], there, [waiting("a")]))
        assert decided.actions == ()
        assert "10Mi that are leaving" in decided.unplaced[0].message


def test_bytes_that_leave_are_promised_to_one_model_only() -> None:
    there = [placed("x", "p", state=PlacementState.UNLOADING), placed("y", "p")]
    models = [model(name) for name in "abxy"]
    decided = decide(snapshot(models, [pod("p")], there, [waiting("a"), waiting("b")]))
    assert drains(decided) == [("y", "p", Reason.MEMORY_PRESSURE)]


def test_a_model_in_its_protection_time_stays() -> None:
    young = [placed("x", "p", since=NOW - 29), placed("y", "p", since=NOW - 29)]
    decided = decide(snapshot([model(n) for n in "axy"], [pod("p")], young, [waiting("a")]))
    assert decided.actions == ()
    assert "may not go yet" in decided.unplaced[0].message


def test_a_model_of_higher_priority_is_never_evicted_for_a_lower_one() -> None:
    there = [placed("vip", "p", 20, used=0.0)]
    decided = decide(snapshot([model("a"), model("vip", 20, priority=5)], [pod("p")], there, [waiting("a")]))
    assert drains(decided) == []


def test_min_copies_hold_against_equals_and_yield_to_a_higher_priority() -> None:
    there = [placed("kept", "p", 20)]
    for priority, expected in ((0, 0), (1, 1)):
        models = [model("a", priority=priority), model("kept", 20, min_copies=1)]
        decided = decide(snapshot(models, [pod("p")], there, [waiting("a")]))
        assert len(drains(decided)) == expected


def test_a_stateful_model_in_use_is_not_moved() -> None:
    models = [model("a"), model("s", 20, stateful=True, max_copies=1, sequence_idle_seconds=60)]
    for idle, expected in ((59, 0), (61, 1)):
        there = [placed("s", "p", 20, used=NOW - idle)]
        assert len(drains(decide(snapshot(models, [pod("p")], there, [waiting("a")])))) == expected


def test_min_copies_are_loaded_on_different_pods() -> None:
    decided = decide(snapshot([model("a", min_copies=2)], [pod("p"), pod("q")]))
    assert loads(decided) == [("a", "p", Reason.MIN_COPIES), ("a", "q", Reason.MIN_COPIES)]


def test_a_pod_takes_as_many_loads_at_once_as_the_pool_allows() -> None:
    held = [waiting(name) for name in "abc"]
    decided = decide(snapshot([model(n) for n in "abc"], [pod("p", 100)], held=held, loads_at_once=2))
    assert len(loads(decided)) == 2
    assert "a load slot" in decided.unplaced[0].message


def test_a_model_of_unknown_size_counts_with_the_default_and_loads_alone() -> None:
    models = [model("a", None), model("b")]
    held = [waiting("a", deadline=NOW + 1), waiting("b", deadline=NOW + 2)]
    decided = decide(snapshot(models, [pod("p", 100)], held=held, default_model_bytes=7 * MB))
    assert loads(decided) == [("a", "p", Reason.COLD_REQUEST)]
    assert decided.actions[0].memory_bytes == 7 * MB  # type: ignore[union-attr]


def test_a_model_over_a_pods_budget_is_never_loaded_and_both_numbers_are_said() -> None:
    decided = decide(snapshot([model("a", 30)], [pod("p", 20)], held=[waiting("a")]))
    assert decided.actions == ()
    assert decided.unplaced[0].never
    assert "30Mi" in decided.unplaced[0].message
    assert "20Mi" in decided.unplaced[0].message


def test_quarantined_and_unmanaged_bytes_count() -> None:
    tight = pod("p", 20, quarantined_bytes=6 * MB, unmanaged_bytes=5 * MB)
    assert loads(decide(snapshot([model("a")], [tight], held=[waiting("a")]))) == []


def test_only_serving_pods_take_models() -> None:
    for state in (PodState.STARTING, PodState.LEAKING, PodState.TERMINATING):
        assert loads(decide(snapshot([model("a")], [pod("p", state=state)], held=[waiting("a")]))) == []


def test_a_failed_load_is_tried_again_only_when_it_is_due() -> None:
    for due, expected in ((NOW + 5, 0), (NOW, 1)):
        seen = snapshot([model("a", retry_at_seconds=due)], [pod("p")], held=[waiting("a")])
        assert len(loads(decide(seen))) == expected


def test_a_deleted_model_is_drained_whatever_its_age() -> None:
    there = [placed("gone", "p", since=NOW - 1), placed("unknown", "p")]
    decided = decide(snapshot([model("gone", deleted=True)], [pod("p")], there))
    assert drains(decided) == [("gone", "p", Reason.DELETED), ("unknown", "p", Reason.DELETED)]


def test_a_new_revision_loads_elsewhere_first_where_memory_is_free() -> None:
    changed = model("a", revision="2")
    old = placed("a", "p", revision="1")
    decided = decide(snapshot([changed], [pod("p"), pod("q")], [old]))
    assert loads(decided) == [("a", "q", Reason.REVISION)]
    assert drains(decided) == []
    both = [old, placed("a", "q", revision="2")]
    assert drains(decide(snapshot([changed], [pod("p"), pod("q")], both))) == [("a", "p", Reason.REVISION)]


def test_a_new_revision_unloads_first_where_both_do_not_fit() -> None:
    seen = snapshot([model("a", revision="2")], [pod("p", 15)], [placed("a", "p", revision="1")])
    assert drains(decide(seen)) == [("a", "p", Reason.REVISION)]


def test_revisions_are_replaced_one_copy_at_a_time() -> None:
    old = [placed("a", "p", revision="1"), placed("a", "q", revision="1")]
    seen = snapshot([model("a", revision="2", min_copies=2, max_copies=2)], [pod("p", 10), pod("q", 10)], old)
    assert len(decide(seen).actions) == 1


def test_copies_above_the_maximum_leave() -> None:
    both = [placed("a", "p", used=NOW - 5), placed("a", "q", used=NOW - 9)]
    decided = decide(snapshot([model("a", max_copies=1)], [pod("p"), pod("q")], both))
    assert drains(decided) == [("a", "q", Reason.REBALANCE)]


def test_what_is_asked_for_goes_into_free_memory_and_evicts_nothing() -> None:
    models = [model("a"), model("b")]
    decided = decide(snapshot(models, [pod("p", 10)], rates={"a": 1.0, "b": 2.0}))
    assert loads(decided) == [("b", "p", Reason.DEMAND)]
    assert drains(decided) == []


def test_models_on_a_leaking_pod_are_loaded_elsewhere() -> None:
    seen = snapshot([model("a")], [pod("p", state=PodState.LEAKING), pod("q")], [placed("a", "p")])
    assert loads(decide(seen)) == [("a", "q", Reason.RECYCLE)]


def test_a_pod_over_its_budget_sheds_what_is_worth_least_even_when_protected() -> None:
    there = [placed("x", "p", 12, since=NOW - 1, used=NOW - 1), placed("y", "p", 12, since=NOW - 1, used=NOW)]
    assert drains(decide(snapshot([model("x", 12), model("y", 12)], [pod("p")], there))) == [
        ("x", "p", Reason.MEMORY_PRESSURE)
    ]


def test_a_model_that_turns_out_larger_than_its_pod_leaves_and_no_other_leaves_for_it() -> None:
    there = [placed("huge", "p", 25, used=NOW), placed("x", "p", 5, used=NOW - 900), placed("y", "p", 12)]
    models = [model("huge", 25, priority=9), model("x", 5), model("y", 12)]
    assert drains(decide(snapshot(models, [pod("p")], there))) == [("huge", "p", Reason.MEMORY_PRESSURE)]


def test_nothing_leaves_for_a_model_larger_than_its_pod_while_that_one_still_comes() -> None:
    there = [placed("huge", "p", 25, PlacementState.LOADING), placed("x", "p", 5, used=NOW - 900)]
    assert drains(decide(snapshot([model("huge", 25), model("x", 5)], [pod("p")], there))) == []


def test_the_number_of_pods_is_the_users_or_kept_between_its_limits() -> None:
    fixed = decide(snapshot([], [pod("p")], asked_pods=1, fixed_pods=3))
    assert fixed.desired_pods == 3
    assert isinstance(fixed.actions[0], Scale)
    assert fixed.actions[0].reason is Reason.FIXED_BY_USER
    assert decide(snapshot([], [], min_pods=2, max_pods=4)).desired_pods == 2
    assert decide(snapshot([], [pod("p")], asked_pods=9, max_pods=4)).desired_pods == 4
    assert decide(snapshot([], [pod("p")], asked_pods=1)).actions == ()


def test_what_waits_for_a_model_whose_only_copy_is_on_a_terminating_pod_may_evict_for_it() -> None:
    ready = [placed("a", "p", used=NOW), placed("b", "q", used=NOW - 900), placed("c", "q", used=NOW - 1)]
    pods = [pod("p", state=PodState.TERMINATING), pod("q")]
    seen = snapshot([model("a"), model("b"), model("c")], pods, ready, [waiting("a")])
    assert drains(decide(seen)) == [("b", "q", Reason.MEMORY_PRESSURE)]


def test_memory_kept_for_one_cold_model_does_not_cost_a_young_one_its_protection() -> None:
    ready = [placed("old", "p", used=NOW - 900), placed("young", "p", since=NOW - 1, used=NOW - 800)]
    models = [model("a"), model("b"), model("old"), model("young")]
    seen = snapshot(models, [pod("p")], ready, [waiting("a"), waiting("b", deadline=NOW + 60)])
    assert drains(decide(seen)) == [("old", "p", Reason.MEMORY_PRESSURE)]
