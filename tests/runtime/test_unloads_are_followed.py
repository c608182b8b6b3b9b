import asyncio
from dataclasses import replace

from tests.runtime.stage import QUICK, FakeModel, Stage


async def evicted(stage, counters, late=0):
    """A model that leaves for another one, and its Triton; it takes a while to leave. Some pages may come late."""
    gate = asyncio.Event()
    await stage.pool(memory={"budget": "100Mi", "defaultModelMemory": "100Mi", "highWatermark": 100})
    for name in "ab":
        await stage.model(name)
    triton = await stage.triton(counters=counters, a=FakeModel(unload_gate=gate), b=FakeModel())
    gateway = await stage.gateway()
    await stage.start()
    await gateway.ask("a")
    await stage.phase("a", "Ready")
    await gateway.ask("a", 0)
    if counters:
        stage.counters["t0"].late = late
    await gateway.ask("b")
    await stage.phase("a", "Unloading")
    assert triton.named("load") == ["a"]
    gate.set()
    await stage.phase("b", "Ready")
    return triton


async def test_the_repository_is_not_listed_for_an_unload_that_the_metrics_show():
    async with Stage() as stage:
        triton = await evicted(stage, counters=True)
        assert triton.named("unload") == ["a"]
        assert len(triton.named("index")) == 1


async def test_metrics_that_are_late_now_and_then_do_not_have_the_repository_listed():
    async with Stage() as stage:
        triton = await evicted(stage, counters=True, late=2)
        assert len(triton.named("index")) == 1


async def test_the_index_tells_of_an_unload_where_there_are_no_metrics():
    async with Stage() as stage:
        triton = await evicted(stage, counters=False)
        assert triton.named("unload") == ["a"]
        assert len(triton.named("index")) > 1


async def test_a_model_whose_process_died_has_left_though_its_unload_never_ends():
    async with Stage(replace(QUICK, dead_unload=0.1)) as stage:
        await stage.pool(memory={"budget": "150Mi", "defaultModelMemory": "100Mi", "highWatermark": 100})
        for name in "ab":
            await stage.model(name, memory="90Mi")
        never = asyncio.Event()
        a = FakeModel(takes_mib=100, tells=True, unload_gate=never)
        await stage.triton(metered=True, a=a, b=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await stage.served(gateway, "a")
        await stage.kube.until(lambda _: stage.status("a").get("memory") == "100Mi")
        await gateway.ask("b")
        await stage.phase("a", "Unloading")
        stage.meters["t0"].gone.add("a")
        await stage.phase("b", "Ready")
        assert a.state == "UNLOADING"
        assert stage.condition("pool", "PodsHealthy", "modelpools")[1] != "Leaking"
        # It may come back to the same pod, where Triton shows it as leaving.
        await gateway.ask("b", 0)
        stage.meters["t0"].gone.clear()
        await stage.served(gateway, "a")
