"""What pods really take is read, learned and acted on: over real HTTP, with models that take what tests say."""

from larder.api.residency import Residency
from tests.runtime import builders
from tests.runtime.stage import FakeModel, Stage

MIB = builders.MIB


def small(high=100, low=50, **more):
    """A pool's memory: 200Mi for models, nothing for the server."""
    return {"budget": "200Mi", "defaultModelMemory": "100Mi", "highWatermark": high, "lowWatermark": low, **more}


def memory_of(stage, name):
    return stage.status(name).get("memory")


async def test_a_size_is_shown_once_it_was_measured_and_is_planned_with():
    async with Stage() as stage:
        await stage.pool(memory=small(), loading={"concurrency": 1})
        for name in ("a", "b", "c"):
            await stage.model(name, copies={"min": 1})
        await stage.triton(metered=True, **{name: FakeModel(takes_mib=40) for name in ("a", "b", "c")})
        await stage.start()
        # Declared with 100Mi each, two would fit; measured, all three do.
        await stage.routable("t0", "a", "b", "c")
        await stage.kube.until(lambda _: [memory_of(stage, n) for n in ("a", "b", "c")] == ["40Mi"] * 3)
        assert stage.condition("pool", "MemoryMeasured", "modelpools")[0] == "True"


async def test_what_was_measured_outlives_the_operator():
    async with Stage() as stage:
        await stage.pool(memory=small())
        await stage.model("a", copies={"min": 1})
        await stage.triton(metered=True, a=FakeModel(takes_mib=40))
        await stage.start()
        await stage.kube.until(lambda _: memory_of(stage, "a") == "40Mi")
        await stage.stop()
        await stage.start()
        await stage.kube.until(lambda _: stage.condition("pool", "MemoryMeasured", "modelpools")[0] == "True")
        assert memory_of(stage, "a") == "40Mi"


async def test_a_pod_without_a_meter_is_planned_with_declared_sizes_and_says_so():
    async with Stage() as stage:
        await stage.pool(memory=small())
        await stage.model("a", copies={"min": 1})
        await stage.triton(a=FakeModel(takes_mib=40))
        await stage.start()
        await stage.routable("t0", "a")
        await stage.kube.until(lambda _: (stage.condition("pool", "MemoryMeasured", "modelpools") or "?")[0] == "False")
        assert "Pod t0" in stage.condition("pool", "MemoryMeasured", "modelpools")[2]
        assert memory_of(stage, "a") is None
        assert stage.status("pool", "modelpools")["memoryUsed"] == "100Mi"


async def test_a_meter_that_is_lost_leaves_what_was_withheld_withheld():
    async with Stage() as stage:
        await stage.pool(memory=small())
        await stage.model("a", copies={"min": 1})
        await stage.triton(metered=True, a=FakeModel(takes_mib=40))
        stage.meters["t0"].server_mib = 30
        await stage.start()
        await stage.kube.until(lambda _: stage.status("pool", "modelpools").get("memoryUsed") == "70Mi")
        await stage.meters["t0"].stop()
        await stage.kube.until(lambda _: stage.condition("pool", "MemoryMeasured", "modelpools")[0] == "False")
        assert stage.status("pool", "modelpools")["memoryUsed"] == "70Mi"


async def test_growth_over_the_high_mark_sends_the_least_valuable_away_whatever_its_age():
    async with Stage() as stage:
        await stage.pool(memory=small(high=90, low=50), protectionSeconds=600)
        await stage.model("a", memory="60Mi", priority=1)
        await stage.model("b", memory="60Mi")
        triton = await stage.triton(metered=True, a=FakeModel(takes_mib=60, tells=True), b=FakeModel(takes_mib=60))
        gateway = await stage.gateway()
        await stage.start()
        for name in ("a", "b"):
            await gateway.ask(name)
            await stage.kube.until(lambda _, name=name: name in (stage.residency() or Residency("")).routable)
            await gateway.ask(name, 0)
        await stage.kube.until(lambda _: memory_of(stage, "b") == "60Mi")
        await gateway.ask("a")
        triton.models["a"].takes_mib = 150
        await triton.until(lambda t: t.models["b"].state == "UNAVAILABLE")
        assert triton.models["a"].state == "READY"
        await stage.kube.until(lambda _: memory_of(stage, "a") == "150Mi")
        (reason, message), *_ = stage.events("Drain", "b")
        assert reason == "MemoryPressure"
        assert "as measured" in message


async def test_what_an_unload_does_not_give_back_is_taken_from_the_pod_until_it_is_leaking():
    async with Stage() as stage:
        await stage.pool(memory=small())
        await stage.model("a", memory="120Mi", copies={"min": 1})
        triton = await stage.triton(metered=True, a=FakeModel(takes_mib=120))
        await stage.start()
        await stage.kube.until(lambda _: memory_of(stage, "a") == "120Mi")
        stage.meters["t0"].server_mib, triton.models["a"].takes_mib = 120, 0
        await stage.kube.remove("models", "a")
        await triton.until(lambda t: t.models["a"].state == "UNAVAILABLE")
        await stage.kube.until(lambda _: stage.status("pool", "modelpools").get("memoryUsed") == "120Mi")
        await stage.kube.until(lambda _: stage.condition("pool", "PodsHealthy", "modelpools")[1] == "Leaking")
        stage.meters["t0"].server_mib = 0
        await stage.kube.until(lambda _: stage.status("pool", "modelpools").get("memoryUsed") == "0")


LIMIT = {"resources": {"limits": {"memory": "300Mi"}}}


async def test_a_model_whose_process_the_kernel_ended_teaches_its_size_and_comes_back_where_it_fits():
    async with Stage() as stage:
        await stage.pool(memory=small(budget="290Mi"), template=LIMIT)
        await stage.model("a", memory="100Mi", copies={"min": 1})
        triton = await stage.triton(metered=True, a=FakeModel(takes_mib=100, tells=True))
        stage.meters["t0"].server_mib = 120
        await stage.start()
        await stage.kube.until(lambda _: memory_of(stage, "a") == "100Mi")
        stage.meters["t0"].kill("a")
        await triton.until(lambda t: t.named("unload") == ["a"])
        stage.meters["t0"].gone.clear()
        await stage.kube.until(lambda _: memory_of(stage, "a") == "180Mi")
