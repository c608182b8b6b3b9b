import threading

from larder.core import planner
from larder.runtime import thinking
from larder.runtime.forecasts import Forecasts
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


def test_what_gateways_tell_while_a_plan_is_made_does_not_change_what_it_is_made_of():
    forecasts = Forecasts(lambda: 0.0)
    asked = forecasts.copied()
    forecasts._shortfalls.take(0.0, pods=1, requests=100, missed=50, predicted=0.9)
    assert asked._shortfalls.factors(0.0) == {}
    assert forecasts.copied()._shortfalls.factors(0.0).keys() == {1}
