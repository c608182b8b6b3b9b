"""An action is checked again against the present when it is applied."""

from larder.core.plan import Action, Drain, Load, Reason, Scale, Unload
from larder.core.recheck import still_holds
from larder.core.snapshot import PlacementState, PodState, Snapshot
from tests.core.builders import MB, NOW, model, placed, pod, snapshot

LOAD = Load("a", "p", 10 * MB, Reason.COLD_REQUEST, "why")
DRAIN = Drain("a", "p", Reason.MEMORY_PRESSURE, "why", "b")


def why_not(action: Action, seen: Snapshot) -> str:
    return still_holds(action, seen, NOW) or ""


def test_a_load_holds_while_pod_model_memory_and_slot_are_there() -> None:
    assert still_holds(LOAD, snapshot([model("a")], [pod("p")]), NOW) is None


def test_a_load_no_longer_holds_when_the_world_has_moved() -> None:
    assert "not serving" in why_not(LOAD, snapshot([model("a")], [pod("p", state=PodState.LEAKING)]))
    assert "not serving" in why_not(LOAD, snapshot([model("a")], []))
    assert "no longer declared" in why_not(LOAD, snapshot([], [pod("p")]))
    assert "already on" in why_not(LOAD, snapshot([model("a")], [pod("p", 50)], [placed("a", "p")]))
    assert "5Mi free" in why_not(LOAD, snapshot([model("a")], [pod("p", 15)], [placed("b", "p")]))
    assert "needs 20Mi" in why_not(LOAD, snapshot([model("a", 20)], [pod("p", 15)]))
    assert "revision" in why_not(LOAD, snapshot([model("a", revision="2")], [pod("p")]))
    assert "next try" in why_not(LOAD, snapshot([model("a", retry_at_seconds=NOW + 1)], [pod("p")]))
    at_most_one = snapshot([model("a", max_copies=1)], [pod("p"), pod("q")], [placed("a", "q")])
    assert "at most 1" in why_not(LOAD, at_most_one)
    busy = [placed("b", "p", 1, PlacementState.LOADING), placed("c", "p", 1, PlacementState.LOADING)]
    assert "load slot" in why_not(LOAD, snapshot([model("a"), model("b"), model("c")], [pod("p")], busy))


def test_a_drain_holds_only_while_the_copy_is_ready_and_out_of_use_if_stateful() -> None:
    assert still_holds(DRAIN, snapshot([model("a")], [pod("p")], [placed("a", "p")]), NOW) is None
    assert "not on p" in why_not(DRAIN, snapshot([model("a")], [pod("p")]))
    loading = [placed("a", "p", state=PlacementState.LOADING)]
    assert "Loading, not Ready" in why_not(DRAIN, snapshot([model("a")], [pod("p")], loading))
    used = [placed("a", "p", used=NOW - 1)]
    assert "stateful" in why_not(DRAIN, snapshot([model("a", stateful=True)], [pod("p")], used))


def test_a_drain_of_a_deleted_model_is_dropped_when_it_is_declared_again() -> None:
    drain = Drain("a", "p", Reason.DELETED, "why")
    assert "declared again" in why_not(drain, snapshot([model("a")], [pod("p")], [placed("a", "p")]))


def test_an_unload_holds_only_from_draining() -> None:
    unload = Unload("a", "p", Reason.MEMORY_PRESSURE, "why")
    draining = [placed("a", "p", state=PlacementState.DRAINING)]
    assert still_holds(unload, snapshot([model("a")], [pod("p")], draining), NOW) is None
    assert "not Draining" in why_not(unload, snapshot([model("a")], [pod("p")], [placed("a", "p")]))


def test_a_scale_holds_within_the_limits_or_as_fixed() -> None:
    scale = Scale(3, Reason.POOL_SCALE_UP, "why")
    assert still_holds(scale, snapshot([], [], max_pods=3), NOW) is None
    assert "outside 1 to 1" in why_not(scale, snapshot([], [], max_pods=1))
    assert "fixed 2" in why_not(scale, snapshot([], [], fixed_pods=2))
