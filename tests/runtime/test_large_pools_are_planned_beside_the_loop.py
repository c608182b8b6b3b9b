import threading

from larder.core import planner
from larder.runtime import thinking
from tests.runtime.stage import FakeModel, Stage


async def test_a_plan_made_beside_the_event_loop_is_carried_out_like_any_other(monkeypatch):
    monkeypatch.setattr(thinking, "BESIDE_FROM_MODELS", 1)
    where = set()

    def plan(snapshot, now):
        where.add(threading.current_thread() is threading.main_thread())
        return planner.plan(snapshot, now)

    monkeypatch.setattr(thinking, "plan", plan)
    async with Stage() as stage:
        await stage.pool()
        for name in "abc":
            await stage.model(name)
        triton = await stage.triton(a=FakeModel(), b=FakeModel(), c=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await stage.served(gateway, *"abc")
        assert triton.named("load") == ["a", "b", "c"]
        assert False in where
