"""A node is lost, and Kubernetes shows its pod as ready for minutes: requests for its models are served elsewhere."""

from dataclasses import replace

from tests.runtime.stage import QUICK, FakeModel, Stage

SIZE = {"budget": "100Mi", "defaultModelMemory": "100Mi", "highWatermark": 100}


async def test_a_model_whose_only_pod_is_lost_is_loaded_on_another():
    async with Stage() as stage:
        await stage.pool(memory=SIZE, pods={"min": 2, "max": 2})
        await stage.model("a")
        lost = await stage.triton(a=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
        await stage.triton("t1", a=FakeModel())
        await lost.vanish()
        await gateway.ask("a")
        await gateway.until(lambda g: "a" in g.routable("uid-of-t1"))
        assert [reason for reason, _ in stage.events("Doubt")] == ["PodSilent"]


async def test_when_it_answers_again_its_copies_count_again():
    async with Stage(replace(QUICK, leaking_pause=0.05)) as stage:
        await stage.pool(memory=SIZE)
        await stage.model("a")
        lost = await stage.triton(a=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await gateway.ask("a")
        await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
        await lost.vanish()
        await stage.kube.until(lambda _: bool(stage.events("Doubt")))
        await lost.come_back()
        await gateway.ask("a", 0)
        await stage.phase("a", "Ready")
        assert lost.named("load") == ["a"]
