"""The number of pods, step by step: a table of snapshots and what each asks for."""

from dataclasses import replace

import numpy as np

from larder.core.appraisal import Traffic
from larder.core.outlook import Outlook, appraise, make_catalog
from larder.core.plan import Dismiss, Keep, Load, PodAction, Reason, Retire, Scale
from larder.core.planner import plan
from larder.core.recheck import still_holds
from larder.core.snapshot import Measured, Objective, PlacementState, Pod, PodState, Retirement, Snapshot
from tests.core.builders import NOW, model, placed, pod, seconds, snapshot, waiting

FAST = Objective(0.1, cold_start_seconds=2.0)


def steps(seen: Snapshot, now: float = NOW) -> list[Scale | PodAction]:
    """What a plan does about pods; each action holds in the snapshot it was made from."""
    found = [a for a in plan(seen, now).actions if isinstance(a, Scale | Retire | Dismiss | Keep)]
    assert not found or still_holds(found[0], seen, now) is None
    return found


def retiring(name: str, reason: Reason = Reason.POOL_SCALE_DOWN, **mark: float) -> Pod:
    told, leaking = mark.get("told_seconds") is not None, reason is Reason.RECYCLE
    return replace(
        pod(name, state=PodState.RETIRING),
        retirement=Retirement(reason, **({"since_seconds": NOW} | mark)),  # type: ignore[arg-type]
        ready=not told,
        leaking=leaking,
    )


def test_one_pod_fewer_begins_with_the_pod_that_is_cheapest_to_rebuild() -> None:
    there = [placed("a", "p", used=NOW), placed("b", "q", used=NOW - 900)]
    (step,) = steps(snapshot([model("a"), model("b")], [pod("p"), pod("q")], there, asked_pods=2, fixed_pods=1))
    assert (type(step), step.pod) == (Retire, "q")  # type: ignore[union-attr]


def test_a_pod_whose_models_are_all_elsewhere_too_is_cheaper_than_an_emptier_one() -> None:
    there = [placed("a", "p", used=NOW), placed("a", "q", used=NOW), placed("b", "q", used=NOW - 900)]
    (step,) = steps(snapshot([model("a"), model("b")], [pod("p"), pod("q")], there, asked_pods=2, fixed_pods=1))
    assert step.pod == "p"  # type: ignore[union-attr]


def test_pods_that_do_not_serve_yet_go_at_once_and_first() -> None:
    starting = replace(pod("q", state=PodState.STARTING), ready=False)
    (step,) = steps(snapshot([], [pod("p"), starting], asked_pods=3, max_pods=1))
    assert step == Scale(1, Reason.POOL_SCALE_DOWN, step.message)


def test_a_ready_pod_that_this_leader_does_not_know_yet_is_not_taken_for_one_that_starts() -> None:
    assert steps(snapshot([], [pod("p"), pod("q", state=PodState.STARTING)], asked_pods=2, max_pods=1)) == []


def test_no_pod_is_chosen_to_go_while_a_rollout_is_on_or_while_its_stateful_model_is_used() -> None:
    outdated = replace(pod("q"), outdated=True)
    assert steps(snapshot([], [pod("p"), outdated], asked_pods=2, max_pods=1)) == []
    there = [placed("s", "p", used=NOW - 1)]
    assert steps(snapshot([model("s", stateful=True)], [pod("p")], there, asked_pods=1, fixed_pods=0)) == []


def test_a_retiring_pods_models_are_loaded_elsewhere_the_most_valuable_first_and_nothing_is_loaded_there() -> None:
    there = [placed("a", "p", used=NOW - 900), placed("b", "p", used=NOW)]
    seen = snapshot([model("a"), model("b")], [retiring("p"), pod("q", 10)], there, asked_pods=2, fixed_pods=1)
    decided = plan(seen, NOW)
    assert [(a.model, a.pod, a.reason) for a in decided.actions if isinstance(a, Load)] == [
        ("b", "q", Reason.POOL_SCALE_DOWN)
    ]
    assert steps(seen) == []


def test_a_retiring_pods_models_take_the_place_of_what_is_worth_less() -> None:
    there = [placed("a", "p", used=NOW), placed("old", "q", used=NOW - 900)]
    seen = snapshot([model("a"), model("old")], [retiring("p"), pod("q", 10)], there, asked_pods=2, fixed_pods=1)
    (drained,) = [a for a in plan(seen, NOW).actions if not isinstance(a, Scale | Retire | Dismiss | Keep)]
    assert (drained.model, drained.reason) == ("old", Reason.POOL_SCALE_DOWN)


def test_the_cluster_is_told_once_nothing_moves_any_more_and_what_will_be_cold_is_named() -> None:
    there = [placed("a", "p", used=NOW - 900), placed("b", "p"), placed("b", "q", used=NOW), placed("c", "q", used=NOW)]
    models = [model("a"), model("b"), model("c")]
    (step,) = steps(snapshot(models, [retiring("p"), pod("q")], there, asked_pods=2, fixed_pods=1))
    assert step == Dismiss("p", Reason.POOL_SCALE_DOWN, step.message, 1)
    assert "1 of its 2 models are ready elsewhere; cold will be a" in step.message


def test_a_load_that_moves_a_model_is_awaited_but_not_for_ever() -> None:
    there = [placed("a", "p", used=NOW), placed("a", "q", state=PlacementState.LOADING)]
    seen = snapshot([model("a")], [retiring("p"), pod("q")], there, asked_pods=2, fixed_pods=1)
    assert steps(seen) == []
    (step,) = steps(seen, NOW + 301)
    assert isinstance(step, Dismiss)


def test_one_pod_fewer_is_asked_for_when_the_cluster_is_seen_to_know_which() -> None:
    told = retiring("p", told_seconds=NOW, to_pods=1)
    seen = snapshot([], [told, pod("q")], asked_pods=2, fixed_pods=1)
    assert steps(replace(seen, ready_pods=2)) == [] and steps(seen) == []
    (step,) = steps(replace(seen, ready_pods=1))
    assert step == Scale(1, Reason.POOL_SCALE_DOWN, step.message, "p")
    assert steps(seen, NOW + 31) == [step]


def test_the_number_is_lowered_once_however_long_the_pod_takes_to_go() -> None:
    told = retiring("p", told_seconds=NOW, to_pods=1)
    assert steps(snapshot([], [told, pod("q")], asked_pods=1, fixed_pods=1), NOW + 99) == []


def test_if_the_cluster_takes_another_pod_the_retired_one_stays() -> None:
    told = retiring("p", told_seconds=NOW, to_pods=1)
    gone = pod("q", state=PodState.TERMINATING)
    assert steps(snapshot([], [told, gone], asked_pods=1, fixed_pods=1)) == [
        Keep("p", Reason.POOL_SCALE_DOWN, "the cluster took another pod than p, which stays")
    ]


def test_a_pod_that_was_chosen_to_go_stays_when_it_is_wanted_again() -> None:
    for mark in ({}, {"told_seconds": NOW, "to_pods": 1}):
        (step,) = steps(snapshot([], [retiring("p", **mark), pod("q")], asked_pods=2, fixed_pods=2))
        assert (type(step), step.pod) == (Keep, "p")  # type: ignore[union-attr]


def test_a_leaking_pod_is_replaced_by_one_more_also_beyond_the_maximum() -> None:
    leaking = pod("p", state=PodState.LEAKING)
    retire, scale = steps(snapshot([], [leaking], asked_pods=1))
    assert (type(retire), retire.surge) == (Retire, 1)  # type: ignore[union-attr]
    assert (type(scale), scale.pods, scale.reason) == (Scale, 2, Reason.RECYCLE)  # type: ignore[union-attr]
    assert still_holds(scale, snapshot([], [leaking], asked_pods=1), NOW) is None


def test_a_leaking_pod_that_gives_its_memory_back_before_it_is_replaced_stays() -> None:
    healed = replace(retiring("p", Reason.RECYCLE, surge=1), leaking=False)
    starting = replace(pod("q", state=PodState.STARTING), ready=False)
    keep, scale = steps(snapshot([], [healed, starting], asked_pods=2))
    assert (type(keep), keep.pod) == (Keep, "p")  # type: ignore[union-attr]
    assert (type(scale), scale.pods) == (Scale, 1)  # type: ignore[union-attr]
    assert steps(snapshot([], [healed, pod("q")], asked_pods=2))[0] == Dismiss(
        "p", Reason.RECYCLE, "p goes: 0 of its 0 models are ready elsewhere", 1
    )


def test_a_leaking_pod_goes_when_its_models_are_ready_on_the_one_that_replaces_it() -> None:
    old, new = retiring("p", Reason.RECYCLE, surge=1), pod("q")
    there = [placed("a", "p", used=NOW)]
    assert steps(snapshot([model("a")], [old], there, asked_pods=2)) == []
    assert steps(snapshot([model("a")], [old, new], there, asked_pods=2)) == []
    (step,) = steps(snapshot([model("a")], [old, new], [*there, placed("a", "q")], asked_pods=2))
    assert step == Dismiss("p", Reason.RECYCLE, step.message, 1)


def test_a_leaking_pod_goes_after_a_grace_time_though_nothing_replaces_it_and_is_asked_for_again_then() -> None:
    stuck = replace(pod("q", state=PodState.STARTING), ready=False)
    old = retiring("p", Reason.RECYCLE, surge=1)
    seen = snapshot([], [old, stuck], asked_pods=2)
    assert steps(seen) == []
    (step,) = steps(seen, NOW + 301)
    assert (step.to_pods, step.back_to_pods) == (0, 1)  # type: ignore[union-attr]
    assert old.retirement
    going = replace(old, state=PodState.TERMINATING, retirement=replace(old.retirement, to_pods=0, back_to_pods=1))
    (again,) = steps(snapshot([], [going], asked_pods=0, min_pods=0))
    assert (again.pods, again.reason) == (1, Reason.RECYCLE)  # type: ignore[union-attr]


def test_where_no_surge_is_allowed_a_leaking_pod_goes_first_and_comes_back() -> None:
    (retire,) = steps(
        snapshot([], [pod("p", state=PodState.LEAKING), pod("q")], asked_pods=2, max_pods=2, surge_pods=0)
    )
    assert (type(retire), retire.surge) == (Retire, 0)  # type: ignore[union-attr]
    seen = snapshot([], [retiring("p", Reason.RECYCLE), pod("q")], asked_pods=2, max_pods=2, surge_pods=0)
    (step,) = steps(seen)
    assert (step.to_pods, step.back_to_pods) == (1, 2)  # type: ignore[union-attr]


def test_a_pool_without_pods_gets_one_for_the_first_request() -> None:
    seen = snapshot([model("a")], [], [], [waiting("a", 3)], asked_pods=0, min_pods=0)
    (step,) = steps(seen)
    assert step == Scale(1, Reason.COLD_REQUEST, "3 requests for 1 model waiting, and no pod runs; from 0 to 1 pod")
    assert steps(replace(seen, waiting={})) == []


def test_a_pool_goes_to_no_pod_only_when_it_is_known_that_nothing_was_asked_for_long_enough() -> None:
    seen = snapshot([model("a")], [pod("p")], asked_pods=1, min_pods=0, scale_down_after_seconds=60)
    assert steps(seen) == []
    assert steps(replace(seen, idle_since_seconds=NOW - 59)) == []
    (step,) = steps(replace(seen, idle_since_seconds=NOW - 60))
    assert isinstance(step, Retire)
    assert steps(replace(seen, idle_since_seconds=NOW - 60, scaled_at_seconds=NOW - 1)) == []
    kept = {"a": model("a", min_copies=1)}
    assert steps(replace(seen, idle_since_seconds=NOW - 60, models=kept)) == []


def test_a_pool_that_is_left_alone_loses_its_pods_and_the_prediction_of_busier_times_brings_none_back() -> None:
    models = [model(name, 60, objective=Objective(0.1), load_seconds=seconds(1.0)) for name in "abcd"]
    asked_often = Traffic(np.full(4, 0.3), np.ones(4))
    seen = snapshot(models, [pod("p")], asked_pods=1, max_pods=3, target_attainment=0.99, scale_down_after_seconds=60)
    catalog = make_catalog(seen.models, 1, 1.0)
    nothing = Outlook(NOW, np.zeros(4), np.zeros(4), np.zeros(4))
    seen = replace(seen, appraisal=appraise(catalog, nothing), traffic=asked_often)
    (step,) = steps(replace(seen, idle_since_seconds=NOW - 59))
    assert isinstance(step, Scale)
    assert step.pods > 1
    assert steps(replace(seen, idle_since_seconds=NOW - 60)) == []
    two = replace(seen, pods={name: pod(name) for name in "pq"}, asked_pods=2, idle_since_seconds=NOW - 60)
    (step,) = steps(two)
    assert isinstance(step, Retire)


def test_a_busy_model_gets_as_many_pods_as_it_needs_copies_a_step_at_a_time() -> None:
    busy = model("a", objective=FAST, execution_seconds=seconds(0.1))
    seen = snapshot([busy], [pod("p")], [placed("a", "p")], rates={"a": 1e6}, asked_pods=1, max_pods=50)
    (step,) = steps(seen)
    assert step.pods == 2  # type: ignore[union-attr]
    assert steps(replace(seen, asked_pods=2, scaled_at_seconds=NOW - 1)) == []
    quick = Measured(4.0, 0.0, 1, NOW)
    (step,) = steps(replace(seen, asked_pods=2, scaled_at_seconds=NOW - 9, start_seconds=quick))
    assert step.pods == 4  # type: ignore[union-attr]


def test_models_without_an_objective_ask_for_no_pods() -> None:
    busy = model("a", execution_seconds=seconds(0.1))
    assert steps(snapshot([busy], [pod("p")], [placed("a", "p")], rates={"a": 99}, asked_pods=1, max_pods=5)) == []


def test_a_backlog_of_loads_that_outlasts_the_start_of_a_pod_asks_for_more() -> None:
    names = [f"m{n}" for n in range(8)]
    models = [model(n, 1, objective=FAST, load_seconds=seconds(20)) for n in names]
    seen = snapshot(models, [pod("p")], [], [waiting(n) for n in names], asked_pods=1, max_pods=9)
    (step,) = steps(seen)
    assert step.pods == 2  # type: ignore[union-attr]
    few = snapshot(models[:2], [pod("p")], [], [waiting(n) for n in names[:2]], asked_pods=1, max_pods=9)
    assert steps(few) == []


def test_requests_that_wait_too_long_because_nothing_may_be_evicted_for_them_ask_for_a_pod() -> None:
    young = [placed("b", "p", 20, since=NOW - 1)]
    late = waiting("a", since=NOW - 5)
    seen = snapshot([model("a", objective=FAST), model("b", 20)], [pod("p")], young, [late], asked_pods=1, max_pods=2)
    (step,) = steps(seen)
    assert step.pods == 2  # type: ignore[union-attr]
    assert steps(replace(seen, waiting={"a": waiting("a", since=NOW - 1)})) == []


def test_new_pods_of_a_rollout_are_warmed_with_what_is_worth_most_on_the_old_ones() -> None:
    old, new = replace(pod("p"), outdated=True), replace(pod("q", 10), ready=False)
    there = [placed("a", "p", used=NOW - 900), placed("b", "p", used=NOW)]
    decided = plan(snapshot([model("a"), model("b")], [old, new], there, asked_pods=1), NOW)
    assert [(a.model, a.pod, a.reason) for a in decided.actions if isinstance(a, Load)] == [
        ("b", "q", Reason.REBALANCE)
    ]


def test_models_of_a_deleted_pod_move_in_order_of_value_also_in_place_of_what_is_worth_less() -> None:
    there = [placed("a", "p", used=NOW - 800), placed("b", "p", used=NOW), placed("c", "q", used=NOW - 900)]
    models = [model(n) for n in "abc"]
    decided = plan(snapshot(models, [pod("p", state=PodState.TERMINATING), pod("q", 10)], there), NOW)
    (drained,) = decided.actions
    assert (drained.model, drained.for_model) == ("c", "b")  # type: ignore[union-attr]
