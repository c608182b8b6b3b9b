import asyncio
from dataclasses import replace

from larder.adapters.triton import Execution
from larder.api.demand import Dead
from larder.runtime.watching import looks_dead
from tests.runtime.stage import QUICK, FakeModel, Stage

OFTEN = replace(QUICK, statistics=0.02, dead_unload=0.05)


def test_a_copy_that_only_fails_as_slowly_as_a_dead_process_looks_dead():
    assert looks_dead(Execution(0, 4, 0, 0.0, 10.0), 0.0)


def test_a_model_that_raises_at_once_does_not_look_dead():
    assert not looks_dead(Execution(0, 50, 50, 0.5, 0.5), 0.01)


def test_a_slow_model_that_raises_does_not_look_dead():
    assert not looks_dead(Execution(0, 3, 3, 0.5, 6.0), 2.0)


def test_a_copy_that_also_answers_does_not_look_dead():
    assert not looks_dead(Execution(1, 4, 1, 0.1, 10.0), 0.0)


def test_a_copy_without_requests_does_not_look_dead():
    assert not looks_dead(Execution(0, 0, 0, 0.0, 0.0), 0.0)


async def test_execution_time_is_measured_and_shown_rounded():
    async with Stage(OFTEN) as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(execution_seconds=0.0123456))
        await stage.start()
        await stage.routable("t0", "a")
        triton.models["a"].executed = 10
        await stage.kube.until(lambda _: stage.status("a").get("executionSeconds") == 0.012)


async def test_a_copy_whose_process_died_is_loaded_again_although_its_unload_never_ends():
    async with Stage(OFTEN) as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel(unload_gate=asyncio.Event()))
        gateway = await stage.gateway()
        await stage.start()
        await stage.routable("t0", "a")
        model = triton.models["a"]
        model.failed, model.failed_seconds = 3, 3.1
        await gateway.ask("a", 0)
        await triton.until(lambda t: t.named("unload") == ["a"])
        model.failed, model.failed_seconds = 0, 0.0
        await stage.routable("t0", "a")
        assert triton.named("load") == ["a", "a"]
        assert "Recycle" in [reason for reason, _ in stage.events("Drain", "a")]


async def test_a_copy_that_a_gateway_heard_to_be_dead_is_reloaded_at_once_and_not_over_and_over():
    async with Stage(replace(OFTEN, statistics=60.0)) as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton, gateway = await stage.triton(a=FakeModel()), await stage.gateway()
        await stage.start()
        await stage.routable("t0", "a")
        uid = stage.kube.find("pods", "t0")["metadata"]["uid"]
        for _ in range(3):
            await gateway.say(Dead("a", uid))
        await triton.until(lambda t: t.named("load") == ["a", "a"])
        await stage.routable("t0", "a")
        await gateway.say(Dead("a", uid))
        await gateway.say(Dead("a", "of no pod"))
        await gateway.say(Dead("unheard of", uid))
        await stage.counted(a=1)
        assert triton.named("unload") == ["a"] and triton.named("load") == ["a", "a"]


async def test_a_copy_that_answers_after_all_is_neither_unloaded_nor_loaded_a_second_time():
    async with Stage(OFTEN) as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton, gateway = await stage.triton(a=FakeModel()), await stage.gateway(deaf=True)
        await stage.start()
        await stage.routable("t0", "a")
        model = triton.models["a"]
        model.failed, model.failed_seconds = 3, 3.1
        await gateway.ask("a", 0)
        await stage.routable("t0")
        model.executed = 1
        await stage.routable("t0", "a")
        assert triton.named("unload") == [] and triton.named("load") == ["a"]


async def test_what_is_loaded_behind_larders_back_is_noticed_and_counted():
    async with Stage(OFTEN) as stage:
        await stage.pool()
        await stage.triton(stray=FakeModel())
        await stage.start()
        await stage.kube.until(lambda _: (stage.condition("pool", "ModelsManaged", "modelpools") or " ")[0] == "True")
        stage.tritons["t0"].models["stray"].state = "READY"
        await stage.kube.until(lambda _: (stage.condition("pool", "ModelsManaged", "modelpools") or " ")[0] == "False")
        assert "stray on t0" in stage.condition("pool", "ModelsManaged", "modelpools")[2]


async def test_what_is_no_longer_loaded_is_no_longer_routed_to():
    async with Stage(OFTEN) as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton = await stage.triton(a=FakeModel())
        await stage.start()
        await stage.routable("t0", "a")
        triton.models["a"].state = ""
        await triton.until(lambda t: t.named("load") == ["a", "a"])
        await stage.routable("t0", "a")


async def test_requests_that_wait_for_a_copy_that_is_not_there_bring_it_back():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton, gateway = await stage.triton(a=FakeModel()), await stage.gateway()
        await stage.start()
        await stage.routable("t0", "a")
        triton.models["a"].state = "UNAVAILABLE"
        await gateway.ask("a")
        await triton.until(lambda t: t.named("load") == ["a", "a"])
        await stage.routable("t0", "a")


async def test_requests_that_wait_for_a_copy_that_is_there_change_nothing():
    async with Stage() as stage:
        await stage.pool()
        await stage.model("a", copies={"min": 1})
        triton, gateway = await stage.triton(a=FakeModel()), await stage.gateway()
        await stage.start()
        await stage.routable("t0", "a")
        await gateway.ask("a")
        await triton.until(lambda t: len(t.named("index")) == 2)
        assert triton.named("load") == ["a"] and stage.residency().routable == {"a"}
