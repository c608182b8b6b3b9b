import asyncio
from contextlib import asynccontextmanager

from larder.adapters.kube.resources import MODELS, POOLS
from larder.runtime.status_writer import StatusWriter
from tests.runtime import builders
from tests.runtime.written import Written

COLD = {"phase": "Cold"}
READY = {"phase": "Ready", "placements": [{"pod": "p"}]}


@asynccontextmanager
async def writing(wants):
    """Everything is wanted before the first is written."""
    target = Written()
    writer = StatusWriter(target, lambda: None, lambda: 0.0)
    for resource, name, present, status in wants:
        made = builders.model(name) if resource is MODELS else builders.pool(name)
        writer.want(resource, made.meta, present, status)
    task = asyncio.create_task(writer.run())
    try:
        for _ in range(50):
            await asyncio.sleep(0)
        yield target, writer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_changed_is_written_before_what_is_only_there():
    wants = [(MODELS, "new", {}, COLD), (MODELS, "came", COLD, READY), (POOLS, "pool", {}, {"pods": 1})]
    async with writing(wants) as (target, _):
        assert target.written == ["came", "pool", "new"]


async def test_a_model_that_waits_in_line_for_its_first_status_goes_ahead_once_it_is_placed():
    wants = [(MODELS, "a", {}, COLD), (MODELS, "b", {}, COLD), (MODELS, "b", {}, READY)]
    async with writing(wants) as (target, _):
        assert target.written == ["b", "a"]


async def test_a_status_that_is_wanted_again_as_it_is_stands_and_is_not_written_again():
    async with writing([(MODELS, "a", COLD, READY)]) as (target, writer):
        writer.want(MODELS, builders.model("a").meta, COLD, dict(READY))
        assert writer.stands("uid-of-a") and target.written == ["a"]
