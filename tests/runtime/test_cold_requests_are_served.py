import asyncio

from larder.runtime.state import Timings
from tests.runtime.stage import QUICK, TOKEN, FakeModel, Stage


async def test_a_cold_request_loads_its_model_and_gateways_hear_of_it_before_the_annotation():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a")
        triton, gateway = await stage.triton(a=FakeModel()), await stage.gateway()
        await stage.start()
        await gateway.until(lambda g: g.followed)
        before = len(stage.kube.history)
        await gateway.ask("a")
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
        await stage.routable("t0", "a")
        assert triton.named("load") == ["a"]
        assert gateway.tokens == [f"Bearer {TOKEN}"]
        assert stage.residency().version == max(h.residency.version for h in gateway.hints)
        assert len(stage.kube.history) > before


async def test_the_reason_of_a_load_is_the_same_in_event_and_status():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a")
        await stage.triton(a=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a", 3)
        await stage.phase("a", "Ready")
        await stage.kube.until(lambda _: len(stage.events("Load", "a")) == 2)
        decision = stage.status("a")["lastDecision"]
        assert (decision["action"], decision["reason"], decision["pod"]) == ("Load", "ColdRequest", "t0")
        assert stage.events("Load", "a")[0][0] == "ColdRequest"
        assert "3 waiting" in decision["message"]
        assert stage.status("a")["placements"][0]["state"] == "Ready"


async def test_a_model_with_min_copies_is_loaded_without_being_asked_for():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        await stage.triton(a=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        await stage.phase("a", "Ready")
        assert stage.status("a")["lastDecision"]["reason"] == "MinCopies"


async def test_the_least_valuable_model_leaves_for_one_that_is_asked_for():
    async with Stage() as stage:
        await stage.pool()
        for name in "abc":
            await stage.model(name)
        triton = await stage.triton(a=FakeModel(), b=FakeModel(), c=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        for name in "ab":
            await gateway.ask(name)
            await gateway.until(lambda g, n=name: n in g.routable("uid-of-t0"))
            await gateway.ask(name, 0)
        await gateway.ask("c")
        await gateway.until(lambda g: "c" in g.routable("uid-of-t0"))
        assert triton.calls.index(("unload", "a")) < triton.calls.index(("load", "c"))
        await stage.routable("t0", "b", "c")
        await stage.phase("a", "Cold")
        assert stage.status("a")["lastDecision"]["reason"] == "MemoryPressure"


async def test_a_load_waits_until_the_memory_is_seen_to_be_released():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool(memory={"budget": "100Mi", "defaultModelMemory": "100Mi", "highWatermark": 100})
        await stage.model("a", copies={"min": 0})
        await stage.model("b")
        triton = await stage.triton(a=FakeModel(unload_gate=gate), b=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
        await gateway.ask("a", 0)
        await gateway.ask("b")
        await triton.until(lambda t: t.named("unload") == ["a"] and len(t.named("index")) > 5)
        assert triton.named("load") == ["a"]
        gate.set()
        await gateway.until(lambda g: "b" in g.routable("uid-of-t0"))


async def test_several_models_load_at_once_on_different_pods():
    async with Stage() as stage:
        gates = {name: asyncio.Event() for name in "ab"}
        await stage.pool(
            pods={"max": 2}, memory={"budget": "100Mi", "defaultModelMemory": "100Mi", "highWatermark": 100}
        )
        for name in "ab":
            await stage.model(name)
        models = {name: FakeModel(load_gate=gates[name]) for name in "ab"}
        tritons = [
            await stage.triton(pod, **{n: FakeModel(load_gate=m.load_gate) for n, m in models.items()})
            for pod in ("t0", "t1")
        ]
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await gateway.ask("b")
        for triton in tritons:
            await triton.until(lambda t: len(t.named("load")) == 1)
        for gate in gates.values():
            gate.set()
        await stage.phase("a", "Ready")
        await stage.phase("b", "Ready")


async def test_a_gateway_that_does_not_answer_never_blocks_an_eviction_and_is_named():
    async with Stage(Timings(**{**_fields(QUICK), "drain_acknowledged": 0.05})) as stage:
        await stage.pool(memory={"budget": "100Mi", "defaultModelMemory": "100Mi", "highWatermark": 100})
        for name in "ab":
            await stage.model(name)
        await stage.triton(a=FakeModel(), b=FakeModel())
        gateway = await stage.gateway(deaf=True)
        await stage.start()
        await gateway.ask("a")
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
        await gateway.ask("a", 0)
        await gateway.ask("b")
        await gateway.until(lambda g: "b" in g.routable("uid-of-t0"))
        await stage.kube.until(
            lambda _: (stage.condition("pool", "DrainsAcknowledged", "modelpools") or " ")[0] == "False"
        )
        assert "g0" in stage.condition("pool", "DrainsAcknowledged", "modelpools")[2]


async def test_an_unload_waits_for_the_acknowledgement_of_every_ready_gateway():
    async with Stage(Timings(**{**_fields(QUICK), "drain_acknowledged": 10.0})) as stage:
        await stage.pool(memory={"budget": "100Mi", "defaultModelMemory": "100Mi", "highWatermark": 100})
        for name in "ab":
            await stage.model(name)
        triton = await stage.triton(a=FakeModel(), b=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
        gateway.deaf = True
        await gateway.ask("a", 0)
        await gateway.ask("b")
        await stage.routable("t0")
        assert triton.named("unload") == []
        gateway.deaf = False
        await gateway.cut()
        await gateway.until(lambda g: "b" in g.routable("uid-of-t0"))


async def test_a_request_that_waits_survives_the_end_of_its_demand_stream():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a")
        gateway = await stage.gateway()
        await stage.start()
        await gateway.until(lambda g: g.followed)
        await gateway.ask("a")
        await gateway.cut()
        await stage.triton(a=FakeModel())
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))


def _fields(timings):
    return {name: getattr(timings, name) for name in timings.__slots__}
