"""The operator's metrics of a pool, as Prometheus reads them."""

from dataclasses import replace

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from larder.api.demand import Counts, ModelCount
from larder.runtime.observed import WINDOW_SECONDS, Attainment
from tests.runtime.stage import QUICK, FakeModel, Stage

OFTEN = replace(QUICK, statistics=0.02)


def shown(name, **labels):
    """The value of a sample of the pool, as scraped; None: not there."""
    wanted = {"namespace": "tests", "pool": "pool", **labels}
    for family in text_string_to_metric_families(generate_latest(REGISTRY).decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == wanted:
                return sample.value
    return None


def test_attainment_is_of_the_last_minutes_and_unknown_while_nothing_is_asked():
    now = [0.0]
    seen = Attainment(lambda: now[0])
    assert seen.share is None
    seen.take({"a": ModelCount(10, None, 0, 10), "b": ModelCount(5)})
    assert seen.share == 0.0
    now[0] = 10 * WINDOW_SECONDS
    seen.take({"a": ModelCount(10, None, 9, 1)})
    assert 0.89 < seen.share < 0.91
    now[0] = 20 * WINDOW_SECONDS
    seen.take({})
    assert seen.share is None


async def test_attainment_seen_and_predicted_and_the_times_of_models_are_shown_while_a_replica_leads():
    async with Stage(OFTEN) as stage:
        await stage.pool()
        await stage.model("a", slo={"latency": "200ms", "coldStart": "30s"}, copies={"min": 1})
        triton = await stage.triton(a=FakeModel(execution_seconds=0.05))
        gateway = await stage.gateway()
        await stage.start()
        await stage.phase("a", "Ready")
        triton.models["a"].executed = 10
        await stage.kube.until(lambda _: stage.status("a").get("executionSeconds") == 0.05)
        assert shown("larder_observed_attainment") is None
        await gateway.say(Counts(1.0, {"a": ModelCount(4, None, 3, 1)}))
        for _ in range(3):
            await stage.counted(a=1)
        feasible = ("True", "AsExpected", "")
        await stage.kube.until(lambda _: stage.condition("pool", "ObjectivesFeasible", "modelpools") == feasible)
        assert shown("larder_observed_attainment") == pytest.approx(0.75)
        assert shown("larder_predicted_attainment") > 0.9
        assert shown("larder_target_attainment") == 0.99
        assert shown("larder_objectives_feasible") == 1.0
        assert abs(shown("larder_model_seconds", model="a", phase="execution") - 0.05) < 1e-6
        assert shown("larder_model_seconds", model="a", phase="load") > 0.0
        assert shown("larder_model_seconds", model="a", phase="queue") == 0.0
    assert shown("larder_predicted_attainment") is None
    assert shown("larder_model_seconds", model="a", phase="load") is None
