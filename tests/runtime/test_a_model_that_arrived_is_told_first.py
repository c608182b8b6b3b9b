"""What somebody waits for goes first: the hint, then, a moment later, what is written for the record."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

from tests.runtime.stage import QUICK, FakeModel, Stage

LEISURELY = replace(QUICK, settle=60.0)


@asynccontextmanager
async def one_that_was_hinted():
    """A model that a gateway asked for, and was told of at once; what is written at leisure is not yet."""
    async with Stage(LEISURELY) as stage:
        await stage.pool()
        await stage.model("a")
        await stage.triton(a=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
        yield stage, gateway


async def test_an_arrived_model_is_hinted_at_once_and_written_later():
    async with one_that_was_hinted() as (stage, _):
        assert stage.residency() is None or "a" not in stage.residency().models


async def test_what_ends_routing_is_written_without_that_pause():
    async with one_that_was_hinted() as (stage, gateway):
        await gateway.ask("a", 0)
        newest = max(hint.residency.version for hint in gateway.hints)
        await stage.kube.remove("models", "a")
        await gateway.until(lambda g: "a" not in g.routable("uid-of-t0"))
        async with asyncio.timeout(20):
            await stage.kube.until(lambda _: stage.residency().version > newest)
