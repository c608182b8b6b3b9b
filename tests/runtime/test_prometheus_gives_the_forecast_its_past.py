"""A new leader's forecast takes its past from Prometheus; without one, or with a wrong one, that is said."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from larder.adapters.prometheus import Prometheus
from larder.adapters.prometheus_reads import History, Source
from larder.runtime.past import taught
from tests.adapters.fake_prometheus import FakePrometheus
from tests.adapters.fake_prometheus import FakePromSeries as Series
from tests.runtime.stage import QUICK, FakeModel, Stage

OFTEN = replace(QUICK, metrics=0.02)


def test_a_history_teaches_what_watching_would_have():
    counts = np.zeros((200, 2), np.uint16)
    counts[::5, 0] = 1
    forecaster = taught(History(("a", "b"), np.ones(200, bool), counts), ("a", "b", "c"), 1000.0)
    assert forecaster.closed_intervals == 200
    assert forecaster.interval_end_seconds == 1060.0
    assert forecaster.seen.tolist() == [True, False, False]
    soon = forecaster.chance_within(60.0)
    assert soon[0] > 0.5 > soon[1]


def test_minutes_that_nobody_knows_teach_nothing():
    counts = np.ones((100, 1), np.uint16)
    forecaster = taught(History(("a",), np.arange(100) % 2 == 0, counts), ("a",), 1000.0)
    assert forecaster.closed_intervals == 50
    assert forecaster.interval_end_seconds == 1060.0


def every(minutes, now, past=300):
    """A counter that grows by one every so many minutes, scraped each minute until now."""
    end = int(now) // 60 * 60
    return {end - 60 * n: (past - n) // minutes for n in range(past + 1)}


def told(stage):
    return stage.condition("pool", "MetricsAvailable", "modelpools") or ("", "", "")


async def pool_of_two(stage):
    await stage.pool(memory={"budget": "100Mi", "defaultModelMemory": "100Mi", "highWatermark": 100})
    for name in "ab":
        await stage.model(name)
    await stage.triton(a=FakeModel(), b=FakeModel())
    return await stage.gateway()


async def test_a_new_leader_knows_what_was_asked_before_it():
    async with FakePrometheus() as server:
        server.series = [Series(every(4, server.now), model="a"), Series(every(250, server.now), model="b")]
        async with Stage(OFTEN, Prometheus(Source(server.url))) as stage:
            gateway = await pool_of_two(stage)
            await stage.start()
            await stage.kube.until(lambda _: told(stage)[:2] == ("True", "AsExpected"))
            await gateway.until(lambda g: g.followed)
            assert stage.runner.state.forecasts.watched_intervals >= 299
            await gateway.ask("b")
            await stage.phase("b", "Ready")
            await gateway.ask("b", 0)
            await stage.kube.until(lambda _: stage.status("a").get("phase") == "Ready")
            assert stage.events("Drain", "b")[0][0] == "Forecast"


async def test_a_pool_without_prometheus_works_and_says_what_is_lost():
    async with Stage(OFTEN) as stage:
        gateway = await pool_of_two(stage)
        await stage.start()
        await gateway.ask("a")
        await stage.phase("a", "Ready")
        await stage.kube.until(lambda _: told(stage)[1] == "NotConfigured")
        assert "forecasts know what the gateways' demand streams told since this replica leads" in told(stage)[2]


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [(401, "who are you", "Unauthorized"), (200, "<html>", "BadAnswer")],
)
async def test_a_prometheus_that_gives_nothing_is_told_with_the_last_good_data_and_harms_nothing(status, text, reason):
    async with FakePrometheus() as server:
        server.series = [Series(every(4, server.now), model="a")]
        async with Stage(OFTEN, Prometheus(Source(server.url))) as stage:
            gateway = await pool_of_two(stage)
            await stage.start()
            await stage.kube.until(lambda _: told(stage)[0] == "True")
            server.answer = (status, text)
            await stage.kube.until(lambda _: told(stage)[:2] == ("False", reason))
            assert "the last good data is of 20" in told(stage)[2]
            assert "the gateways' demand streams alone" in told(stage)[2]
            await gateway.ask("b")
            await stage.phase("b", "Ready")
            server.answer = None
            await stage.kube.until(lambda _: told(stage)[0] == "True")


async def test_a_prometheus_that_does_not_scrape_the_gateways_has_no_data():
    async with FakePrometheus() as server, Stage(OFTEN, Prometheus(Source(server.url))) as stage:
        await pool_of_two(stage)
        await stage.start()
        await stage.kube.until(lambda _: told(stage)[:2] == ("False", "NoData"))


async def test_a_prometheus_that_no_longer_scrapes_is_stale():
    async with FakePrometheus() as server:
        server.series = [Series(every(4, server.now - 3600), model="a")]
        async with Stage(OFTEN, Prometheus(Source(server.url))) as stage:
            await pool_of_two(stage)
            await stage.start()
            await stage.kube.until(lambda _: told(stage)[:2] == ("False", "StaleData"))


async def test_a_prometheus_that_hangs_holds_nothing_up():
    async with FakePrometheus() as server:
        server.hang()
        async with Stage(OFTEN, Prometheus(Source(server.url, timeout_seconds=0.2))) as stage:
            gateway = await pool_of_two(stage)
            await stage.start()
            await gateway.ask("a")
            await stage.phase("a", "Ready")
            await stage.kube.until(lambda _: told(stage)[:2] == ("False", "TimedOut"))


async def test_models_that_come_while_the_past_is_read_begin_anew():
    async with FakePrometheus() as server:
        server.series = [Series(every(4, server.now), model="a")]
        server.hang()
        async with Stage(OFTEN, Prometheus(Source(server.url))) as stage:
            await pool_of_two(stage)
            await stage.start()
            await asyncio.to_thread(lambda: None)
            await stage.model("c")
            server.hangs.set()
            await stage.kube.until(lambda _: told(stage)[0] == "True")
            await stage.kube.until(lambda _: len(stage.runner.state.forecasts._names) == 3)


async def test_a_counter_of_the_past_that_leaps_a_millionfold_asks_for_no_more_pods_than_a_burst():
    async with FakePrometheus() as server:
        leap = {at: count + (10**6 if at > server.now - 900 else 0) for at, count in every(1, server.now).items()}
        server.series = [Series(leap, model="a")]
        async with Stage(replace(OFTEN, statistics=0.02), Prometheus(Source(server.url))) as stage:
            await stage.pool(pods={"min": 1, "max": 4})
            await stage.measured("a", slo={"latency": "200ms"})
            await stage.kube.until(lambda _: told(stage)[0] == "True")
            for _ in range(15):
                await stage.counted(a=1)
            assert stage.runner.state.forecasts.watched_intervals >= 299
            assert stage.kube.find("deployments", "pool-triton")["spec"]["replicas"] <= 2
            assert len(stage.events("Scale")) <= 1
