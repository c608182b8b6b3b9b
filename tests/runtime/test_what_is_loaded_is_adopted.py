import asyncio

from larder.adapters.triton import IndexEntry, IndexState
from larder.api.residency import Residency, Resident
from larder.core.snapshot import PlacementState
from larder.runtime.adoption import Expected, adopt
from tests.runtime.stage import FakeModel, Stage

READY, LOADING = IndexEntry(IndexState.READY), IndexEntry(IndexState.LOADING)
UNLOADING, GONE = IndexEntry(IndexState.UNLOADING), IndexEntry(IndexState.UNAVAILABLE)


def found(index, record=None, **expected):
    return adopt("t0", record, index, {n: Expected("r1", b) for n, b in expected.items()}, (100, 50.0))


def record(**models):
    return Residency("c", 1, 1, models)


def test_what_the_annotation_says_and_triton_has_is_taken_over_as_it_was():
    placement = found({"a": READY}, record(a=Resident("r0", 7, 3.0)), a=9).placements["a"]
    assert (placement.state, placement.memory_bytes, placement.since_seconds) == (PlacementState.READY, 7, 3.0)
    assert placement.revision == "r0"


def test_what_the_annotation_says_and_triton_no_longer_has_is_dropped():
    assert found({"a": GONE}, record(a=Resident()), a=9).placements == {}


def test_what_is_ready_and_declared_is_taken_over_without_an_annotation():
    placement = found({"a": READY}, a=9).placements["a"]
    assert (placement.state, placement.memory_bytes, placement.revision) == (PlacementState.READY, 9, "r1")


def test_what_nobody_declares_is_unmanaged_and_counted():
    taken = found({"x": READY})
    assert taken.placements == {} and taken.unmanaged == {"x": 100}


def test_what_changes_is_left_to_settle():
    taken = found({"a": LOADING, "b": UNLOADING}, a=1, b=1).placements
    assert (taken["a"].state, taken["b"].state) == (PlacementState.LOADING, PlacementState.UNLOADING)


def test_a_drain_that_had_begun_goes_on():
    taken = found({"a": READY}, record(a=Resident(routable=False)), a=1).placements
    assert taken["a"].state is PlacementState.DRAINING


def test_a_model_deleted_meanwhile_is_still_known_for_ours():
    assert found({"a": READY}, record(a=Resident("", 7))).placements["a"].memory_bytes == 7


async def test_a_restarted_operator_reloads_nothing_and_writes_no_pod():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        await stage.phase("a", "Ready")
        await stage.stop()
        published = stage.kube.find("pods", "t0")["metadata"]["annotations"]
        await stage.start()
        await triton.until(lambda t: len(t.named("index")) == 2)
        gateway = await stage.gateway()
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
        assert triton.named("load") == ["a"] and triton.named("unload") == []
        assert stage.kube.find("pods", "t0")["metadata"]["annotations"] == published


async def test_another_leader_keeps_the_last_decision_and_the_measured_times():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        await stage.triton(a=FakeModel())
        await stage.start()
        await stage.kube.until(lambda _: stage.status("a").get("loadSeconds"))
        await stage.kube.until(lambda _: stage.status("pool", "modelpools").get("lastDecision"))
        await stage.stop()
        before = stage.status("a")
        await stage.start()
        await stage.model("b", copies={"min": 1})
        await stage.phase("b", "Failed")
        after = stage.status("a")
        assert (after["lastDecision"], after["loadSeconds"]) == (before["lastDecision"], before["loadSeconds"])
        assert stage.status("pool", "modelpools")["lastDecision"]["action"] == "Load"


async def test_a_load_in_progress_is_adopted_not_repeated():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(load_gate=gate))
        await stage.start()
        await triton.until(lambda t: t.named("load") == ["a"])
        await stage.stop()
        await stage.start()
        await triton.until(lambda t: len(t.named("index")) > 3)
        gate.set()
        await stage.routable("t0", "a")
        assert triton.named("load") == ["a"]


async def test_a_container_that_restarts_in_place_is_not_routed_to_until_it_serves_again():
    async with Stage() as stage:
        gate = asyncio.Event()
        gate.set()
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(load_gate=gate))
        gateway = await stage.gateway()
        await stage.start()
        await stage.routable("t0", "a")
        gate.clear()
        await stage.restart_container()
        await triton.until(lambda t: t.named("load") == ["a", "a"])
        await stage.kube.until(lambda _: stage.residency().container_id.endswith("-again"))
        assert stage.residency().routable == frozenset()
        gate.set()
        await stage.routable("t0", "a")
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))


async def test_what_nobody_declares_is_shown_and_counts_against_the_budget():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", memory="150Mi", copies={"min": 1})
        triton = await stage.triton(stray=FakeModel("READY"), a=FakeModel())
        await stage.start()
        await stage.kube.until(lambda _: (stage.condition("pool", "ModelsManaged", "modelpools") or " ")[0] == "False")
        assert "stray on t0" in stage.condition("pool", "ModelsManaged", "modelpools")[2]
        assert triton.named("load") == []
        assert stage.status("pool", "modelpools")["memoryUsed"] == "100Mi"


async def test_a_pod_is_ready_for_the_cluster_once_it_is_adopted_and_warm():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(load_gate=gate))
        await stage.start()
        await triton.until(lambda t: t.named("load") == ["a"])
        await stage.phase("a", "Loading")
        assert _gate(stage) is None
        gate.set()
        await stage.kube.until(lambda _: _gate(stage) == "True")


async def test_another_leader_leaves_the_gate_of_an_adopted_pod_alone():
    async with Stage() as stage:
        await stage.pool()
        await stage.triton()
        await stage.start()
        await stage.kube.until(lambda _: _gate(stage) == "True")
        await stage.stop()
        marker = len(stage.kube.history)
        await stage.start()
        await stage.kube.until(lambda k: k.find("modelpools", "pool").get("status", {}).get("pods") == 1)
        states = [m for _, _, kind, m in stage.kube.history[marker:] if kind == "pods"]
        assert all(_gate_of(manifest) == "True" for manifest in states)


def _gate(stage):
    return _gate_of(stage.kube.find("pods", "t0"))


def _gate_of(pod):
    listed = pod["status"]["conditions"]
    return next((c["status"] for c in listed if c["type"] == "larder.dev/serving"), None)


async def test_a_pod_that_has_only_what_was_placed_there_is_taken_over_before_its_models_are_asked_what_they_call():
    async with Stage() as stage:
        await stage.pool()
        for name in "ab":
            await stage.model(name)
        triton, gateway = await stage.triton(a=FakeModel(), b=FakeModel()), await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await stage.phase("a", "Ready")
        await gateway.ask("a", 0)
        await stage.stop()
        triton.models["a"].silent_configs = 1000
        await stage.start()
        await gateway.ask("b")
        await gateway.until(lambda g: {"a", "b"} <= g.routable("uid-of-t0"))
        assert triton.models["a"].silent_configs > 0
        assert triton.named("load") == ["a", "b"]
