"""One cold request, decided without the whole plan, gets what the whole plan would give it."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from larder.core.cold_desk import ColdDesk
from larder.core.plan import Drain, Load, Plan, Reason
from larder.core.planner import plan
from larder.core.snapshot import PlacementState, PodState, Snapshot
from tests.core.builders import NOW, model, placed, pod, snapshot, waiting

NAMES = [f"m{n}" for n in range(6)]


@st.composite
def settled(draw: st.DrawFn) -> Snapshot:
    """A pool at rest in which one model is cold and waited for."""
    models = [model(n, draw(st.integers(1, 20)), priority=draw(st.integers(0, 1))) for n in NAMES]
    pods = [pod(p, 30) for p in ("p0", "p1")]
    there, free = [], {"p0": 30, "p1": 30}
    for known in models[1:]:
        size, where = (known.memory_bytes or 0) // 2**20, draw(st.sampled_from(["p0", "p1"]))
        if free[where] >= size:
            free[where] -= size
            state = draw(st.sampled_from([PlacementState.READY, PlacementState.LOADING]))
            there.append(placed(known.name, where, size, state, since=draw(st.floats(NOW - 99, NOW))))
    return snapshot(models, pods, there, [waiting(NAMES[0], draw(st.integers(1, 5)))])


def for_cold(decided: Plan) -> list[object]:
    return [a for a in decided.actions if getattr(a, "reason", None) in (Reason.COLD_REQUEST, Reason.MEMORY_PRESSURE)]


@given(settled())
@settings(max_examples=200, deadline=None)
def test_the_desk_decides_what_the_full_plan_decides(seen: Snapshot) -> None:
    desk = ColdDesk(replace(seen, waiting={}), NOW)
    assert list(desk.decide(seen.waiting[NAMES[0]], NOW).actions) == for_cold(plan(seen, NOW))


def test_the_desk_keeps_its_accounts_when_placements_move() -> None:
    seen = snapshot([model("a"), model("b")], [pod("p", 10)], [placed("b", "p", state=PlacementState.UNLOADING)])
    desk = ColdDesk(seen, NOW)
    assert desk.decide(waiting("a"), NOW).actions == ()
    fresh = ColdDesk(seen, NOW)
    fresh.follow("b", "p", None)
    assert [a.reason for a in fresh.decide(waiting("a"), NOW).actions] == [Reason.COLD_REQUEST]  # type: ignore[union-attr]


def test_the_desk_refuses_what_is_unknown_or_has_no_pod() -> None:
    desk = ColdDesk(snapshot([model("a")], [pod("p", state=PodState.STARTING)]), NOW)
    assert desk.decide(waiting("nobody"), NOW).actions == ()
    assert "load slot" in desk.decide(waiting("a"), NOW).unplaced[0].message


@given(settled())
@settings(max_examples=200, deadline=None)
def test_a_desk_that_follows_what_it_decided_stands_as_one_that_begins_then(seen: Snapshot) -> None:
    desk = ColdDesk(replace(seen, waiting={}), NOW)
    decided = desk.decide(seen.waiting[NAMES[0]], NOW)
    there = {(p.model, p.pod): p for p in seen.placements}
    for action in decided.actions:
        assert isinstance(action, Load | Drain)
        at = (action.model, action.pod)
        loading = placed(action.model, action.pod, 0, PlacementState.LOADING, since=NOW)
        if isinstance(action, Load):
            there[at] = replace(loading, memory_bytes=action.memory_bytes)
            desk.follow(*at, there[at])
        else:
            # It drains, and then it is gone.
            desk.follow(*at, replace(there[at], state=PlacementState.DRAINING))
            desk.follow(*at, None)
            del there[at]
    fresh = ColdDesk(replace(seen, waiting={}, placements=tuple(there.values())), NOW)
    held = seen.waiting[NAMES[0]]
    assert desk.decide(held, NOW).actions == fresh.decide(held, NOW).actions
    other = waiting(NAMES[-1])
    if not any(model == NAMES[-1] for model, _ in there):
        desk.release(NAMES[0])
        fresh.release(NAMES[0])
        assert desk.decide(other, NOW).actions == fresh.decide(other, NOW).actions


def test_memory_kept_for_one_model_is_given_to_no_other_until_it_is_released() -> None:
    seen = snapshot([model("a"), model("b")], [pod("p", 10)], [])
    desk = ColdDesk(seen, NOW)
    desk.keep("a", "p")
    assert desk.kept == {"a": "p"}
    assert desk.decide(waiting("b"), NOW).actions == ()
    desk.release("a")
    assert [type(a) for a in desk.decide(waiting("b"), NOW).actions] == [Load]
