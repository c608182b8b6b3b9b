"""The operator feeds the forecast from the gateways' streams and decides by it. Time is the stage's."""

import asyncio
from dataclasses import replace

from larder.api.demand import Counts
from tests.runtime.stage import QUICK, FakeModel, Stage

OFTEN = replace(QUICK, statistics=0.02)
SLO = {"latency": "200ms", "coldStart": "30s"}


def asked_pods(stage):
    found = stage.kube.find("deployments", "pool-triton")
    return found["spec"]["replicas"] if found else None


async def test_a_model_that_is_asked_for_regularly_is_loaded_ahead():
    async with Stage() as stage:
        await stage.pool()
        for name in "abc":
            await stage.model(name)
        await stage.triton(a=FakeModel(), b=FakeModel(), c=FakeModel())
        gateway = await stage.gateway()
        await stage.start()
        await stage.served(gateway, *"bc")
        await stage.minute(b=1, c=1)
        for turn in range(1, 40):
            await stage.minute(**({"a": 1} if turn % 4 == 0 else {}))
            if stage.events("Load", "a"):
                break
        await stage.kube.until(lambda _: stage.status("a").get("phase") == "Ready")
        assert stage.events("Load", "a")[0][0] == "Forecast"
        assert stage.events("Drain")[0][0] == "Forecast"


async def scaled(stage):
    """A pool of 1 to 4 pods that asks for all of them: one is busy three times over."""
    await stage.pool(pods={"min": 1, "max": 4})
    await stage.measured("a", slo=SLO)
    assert asked_pods(stage) == 1


async def grown(stage):
    """The same after a burst: the second step waits until the pods of the first had time to start."""
    await scaled(stage)
    await burst(stage, 4)
    await stage.kube.until(lambda _: asked_pods(stage) == 2)
    await burst(stage, 70)
    await stage.kube.until(lambda _: asked_pods(stage) == 4)


async def burst(stage, seconds):
    for _ in range(seconds):
        await stage.counted(a=60)


async def test_a_burst_asks_for_pods_within_seconds_and_at_most_twice_as_many_at_once():
    async with Stage(OFTEN) as stage:
        await grown(stage)
        assert {reason for reason, _ in stage.events("Scale")} == {"PoolScaleUp"}


async def test_a_rate_that_leaps_a_millionfold_scales_no_faster_than_any_burst():
    async with Stage(OFTEN) as stage:
        await scaled(stage)
        for _ in range(15):
            await stage.counted(a=60_000_000)
        await stage.kube.until(lambda _: asked_pods(stage) == 2)
        assert len(stage.events("Scale")) == 1


async def test_no_pod_is_removed_while_a_gateway_is_silent():
    async with Stage(OFTEN) as stage:
        await grown(stage)
        silent = await stage.gateway("g1")
        await silent.until(lambda g: g.followed)
        for _ in range(20):
            stage.skipped_seconds += 60.0
            stage.runner.wake()
            await stage.gateways["g0"].say(Counts(60.0, {}))
            await asyncio.sleep(0)
        assert not stage.runner.state.gateways.hears_all()
        assert asked_pods(stage) == 4


async def test_pods_go_one_by_one_once_nothing_is_asked_and_every_gateway_says_so():
    async with Stage(OFTEN) as stage:
        await grown(stage)
        for _ in range(160):
            await stage.counted(4.0)
        await stage.kube.until(lambda _: (asked_pods(stage) or 4) < 4)
        assert ("PoolScaleDown", True) in [(reason, "predicted" in text) for reason, text in stage.events("Scale")]


async def test_a_pool_that_cannot_meet_its_objectives_names_the_model_and_the_pods_it_would_take():
    async with Stage(OFTEN) as stage:
        await scaled(stage)
        kind = "ObjectivesFeasible"
        assert stage.condition("pool", kind, "modelpools")[0] in ("Unknown", "True")
        await stage.pool(pods={"min": 1, "max": 2})
        await burst(stage, 60)
        await stage.kube.until(lambda _: stage.condition("pool", kind, "modelpools")[0] == "False")
        _, reason, text = stage.condition("pool", kind, "modelpools")
        assert reason == "TooFewPodsAllowed"
        assert text.startswith("a falls short of its objective: spec.pods.max allows 2 pods, it would take ")


async def test_a_pool_without_objectives_is_not_scaled_by_demand():
    async with Stage(OFTEN) as stage:
        await stage.pool(pods={"min": 1, "max": 4})
        await stage.model("a", memory="10Mi")
        await stage.triton(a=FakeModel(execution_seconds=0.05))
        await stage.gateway()
        await stage.start()
        await stage.kube.until(lambda _: asked_pods(stage) == 1)
        await stage.gateways["g0"].until(lambda g: g.followed)
        await burst(stage, 30)
        assert stage.condition("pool", "ObjectivesFeasible", "modelpools")[1] == "NoObjectives"
        assert asked_pods(stage) == 1
