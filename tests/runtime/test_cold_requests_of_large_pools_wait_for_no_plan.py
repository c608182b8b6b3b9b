import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from larder.core import planner
from larder.runtime import thinking
from tests.runtime.stage import FakeModel, Stage


class Planner:
    """The planner in a thread, where it may be made to take as long as a test wants."""

    def __init__(self):
        self.entered, self._go = threading.Event(), threading.Event()
        self._go.set()

    def plan(self, snapshot, now):
        self.entered.set()
        assert self._go.wait(20), "a test let the planner wait for ever"
        return planner.plan(snapshot, now)

    @asynccontextmanager
    async def under_way(self, stage):
        """While the block runs one full plan is under way that began before it."""
        self._go.clear()
        self.entered.clear()
        stage.runner.wake()
        try:
            await asyncio.to_thread(self.entered.wait, 20)
            yield
        finally:
            self._go.set()


@pytest.fixture
def slow(monkeypatch):
    found = Planner()
    monkeypatch.setattr(thinking, "BESIDE_FROM_MODELS", 1)
    monkeypatch.setattr(thinking, "plan", found.plan)
    return found


@asynccontextmanager
async def pool(models, pods=1, **spec):
    """A pool whose pods each have room for two models, and its gateway."""
    async with Stage() as stage:
        await stage.pool(**spec)
        for name in models:
            await stage.model(name)
        tritons = [await stage.triton(f"t{n}", **{m: FakeModel() for m in models}) for n in range(pods)]
        gateway = await stage.gateway()
        await stage.start()
        for number in range(pods):
            await stage.routable(f"t{number}")
        yield stage, gateway, tritons


async def served(stage, gateway, model):
    await gateway.ask(model)
    await gateway.until(lambda g: any(model in g.routable(f"uid-of-{name}") for name in stage.tritons))
    await gateway.ask(model, 0)


async def test_a_model_is_loaded_into_free_memory_while_a_plan_is_under_way(slow):
    async with pool("ab", pods=2) as (stage, gateway, tritons):
        async with slow.under_way(stage):
            await served(stage, gateway, "a")
            await served(stage, gateway, "b")
        await stage.phase("b", "Ready")
        assert sorted(name for triton in tritons for name in triton.named("load")) == ["a", "b"]
        assert stage.status("a")["lastDecision"]["reason"] == "ColdRequest"


async def test_a_model_leaves_for_one_that_is_asked_for_while_a_plan_is_under_way(slow):
    async with pool("abc") as (stage, gateway, (triton,)):
        for name in "ab":
            await served(stage, gateway, name)
        async with slow.under_way(stage):
            await served(stage, gateway, "c")
        assert triton.named("load") == ["a", "b", "c"]
        assert len(triton.named("unload")) == 1


async def test_what_was_decided_meanwhile_is_not_done_again_by_the_plan_that_knew_nothing_of_it(slow):
    async with pool("abcd", pods=2) as (stage, gateway, tritons):
        for name in "abc":
            await served(stage, gateway, name)
        async with slow.under_way(stage):
            await gateway.ask("d")
            await gateway.until(lambda g: any("d" in g.routable(f"uid-of-t{n}") for n in range(2)))
        await stage.phase("d", "Ready")
        async with slow.under_way(stage):
            pass
        assert sorted(name for triton in tritons for name in triton.named("load")) == ["a", "b", "c", "d"]


async def test_a_pool_that_is_only_advised_loads_nothing_meanwhile(slow):
    async with pool("a", mode="Advise") as (stage, gateway, (triton,)):
        async with slow.under_way(stage):
            await gateway.ask("a")
            await asyncio.sleep(0.05)
        await stage.kube.until(lambda _: stage.events("AdviseLoad"))
        assert triton.named("load") == []
