"""Gateways are told when what they wait for will be there."""

import asyncio

from tests.runtime.stage import FakeModel, Stage

LOAD_SECONDS = 100.0


async def until_predicted(gateway, model):
    await gateway.until(lambda g: any(p.model == model for p in g.predictions))
    return next(p for p in reversed(gateway.predictions) if p.model == model)


async def test_a_load_that_was_measured_once_is_predicted_the_next_time():
    async with Stage() as stage:
        gate = asyncio.Event()
        await stage.pool(memory={"budget": "100Mi", "defaultModelMemory": "100Mi", "highWatermark": 100})
        await stage.model("a")
        await stage.model("b")
        triton = await stage.triton(a=FakeModel(load_gate=gate), b=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await triton.until(lambda t: t.named("load") == ["a"])
        stage.skipped_seconds += LOAD_SECONDS
        gate.set()
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
        await gateway.ask("a", 0)
        assert not gateway.predictions
        await gateway.ask("b")
        await gateway.until(lambda g: "b" in g.routable("uid-of-t0"))
        await gateway.ask("b", 0)
        gate.clear()
        await gateway.ask("a")
        told = await until_predicted(gateway, "a")
        assert LOAD_SECONDS / 2 < told.ready_in_seconds < 2 * LOAD_SECONDS
        await triton.until(lambda t: t.named("load") == ["a", "b", "a"])
        await gateway.ask("a", 0)
        await gateway.until(lambda g: g.predictions[-1].ready_in_seconds == 0)
        gate.set()
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
