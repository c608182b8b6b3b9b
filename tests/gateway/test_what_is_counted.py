"""What Envoy counts of each Model: classes, objectives met and missed, latencies; nothing of names nobody declared."""

import asyncio
import contextlib

import grpc
import pytest

from larder.api.demand import Counts, Hint, Waiting
from tests.gateway.builders import Gateway, residency
from tests.gateway.fake_pod import FakePod

CONTAINER = "containerd://a"
BAD = {"inputs": "not a list"}


@contextlib.asynccontextmanager
async def gateway_with(*models, **spec):
    async with Gateway() as gateway, FakePod("p", set(models)) as fake:
        await gateway.declare(*models, **spec)
        await gateway.publish(fake, residency(CONTAINER, 1, *models))
        yield gateway, fake


async def series(gateway):
    async with gateway.session.get(gateway.metrics) as page:
        lines = (await page.text()).splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if 'model="' in line}


async def attained(gateway, model):
    found = await series(gateway)
    return tuple(found.get(f'larder_{kind}_total{{model="{model}"}}', 0) for kind in ("met", "missed"))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_a_fast_answer_meets_the_objective_and_a_slow_one_misses_it(protocol):
    async with gateway_with("m", slo={"latency": "150ms"}) as (gateway, fake):
        infer = gateway.infer if protocol == "http" else gateway.infer_grpc
        await infer("m")
        await infer("m")
        fake.gate = asyncio.Event()
        slow = asyncio.create_task(infer("m"))
        await fake.until_ran(3)
        asyncio.get_running_loop().call_later(0.2, fake.gate.set)
        await slow
        assert await attained(gateway, "m") == (2, 1)
        found = await series(gateway)
    assert found['larder_requests_total{model="m",class="ok"}'] == 3
    assert found['larder_seconds_count{model="m"}'] == 3
    assert found['larder_seconds_bucket{model="m",le="0.1"}'] == 2
    assert found['larder_seconds_bucket{model="m",le="+Inf"}'] == 3


async def test_a_request_that_found_no_copy_has_the_cold_start_in_its_objective():
    async with (
        gateway_with("m", slo={"latency": "50ms", "coldStart": "10s"}) as (gateway, _),
        gateway.operator() as operator,
    ):
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2)))
        while gateway.activator.state.copies("m"):  # noqa: ASYNC110 (nobody is told)
            await asyncio.sleep(0.005)
        cold = asyncio.create_task(gateway.infer("m"))
        await operator.until(Waiting, lambda message: "m" in message.models)
        await asyncio.sleep(0.1)
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 3, "m")))
        assert (await cold)[0] == 200
        assert await attained(gateway, "m") == (1, 0)


async def test_errors_of_the_client_are_neither_met_nor_missed_and_refusals_are_missed():
    async with Gateway(longest_hold_seconds=0.1) as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m", "cold", slo={"latency": "1s"})
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        url = f"http://{gateway.http}/v2/models/m/versions/7/infer"
        async with gateway.session.post(url, json={"inputs": []}) as answer:
            assert answer.status == 404
        with pytest.raises(grpc.aio.AioRpcError):
            await gateway.call("ModelInfer", b"\x0a\x01m\x12\x017")
        assert (await gateway.infer("cold"))[0] == 503
        with pytest.raises(grpc.aio.AioRpcError):
            await gateway.infer_grpc("cold")
        found = await series(gateway)
        assert await attained(gateway, "m") == (0, 0)
        assert await attained(gateway, "cold") == (0, 2)
    assert found['larder_requests_total{model="m",class="client"}'] == 2
    assert found['larder_requests_total{model="cold",class="server"}'] == 2


async def test_names_that_nobody_declared_leave_no_series_and_those_of_a_model_go_with_it():
    async with gateway_with("m") as (gateway, _):
        await gateway.infer("m")
        for number in range(20):
            await gateway.infer(f"unknown-{number}")
        text = "".join(await series(gateway))
        assert 'model="m"' in text
        assert "unknown" not in text
        await gateway.kube.remove("models", "m")
        while "m" in gateway.activator.state.models:  # noqa: ASYNC110 (nobody is told)
            await asyncio.sleep(0.005)
        assert await series(gateway) == {}


async def test_operators_are_told_how_many_met_their_objective():
    async with gateway_with("m", slo={"latency": "5s"}) as (gateway, _), gateway.operator() as operator:
        for _ in range(3):
            await gateway.infer("m")
        requests = met = missed = 0
        while requests < 3:
            counts = await operator.until(Counts)
            operator.last.pop(Counts)
            for count in counts.models.values():
                requests, met, missed = requests + count.requests, met + count.met, missed + count.missed
    assert (requests, met, missed) == (3, 3, 0)


async def test_a_counter_goes_on_when_envoy_ends_and_another_starts():
    async with gateway_with("m") as (gateway, _):
        await gateway.infer("m")
        await gateway.stop_envoy()
        await gateway.start_envoy()
        await gateway.until_ready()
        await gateway.infer("m")
        assert (await series(gateway))['larder_requests_total{model="m",class="ok"}'] == 2


async def test_requests_go_to_the_copy_with_the_fewest_unanswered():
    async with gateway_with("m") as (gateway, busy), FakePod("q", {"m"}) as free:
        busy.gate = asyncio.Event()
        held = [asyncio.create_task(gateway.infer("m")) for _ in range(4)]
        await busy.until_ran(4)
        await gateway.publish(free, residency(CONTAINER, 1, "m"))
        for _ in range(4):
            await gateway.infer("m")
        assert (len(busy.ran), len(free.ran)) == (4, 4)
        busy.gate.set()
        await asyncio.gather(*held)
        for _ in range(10):
            await gateway.infer("m")
        assert len(busy.ran) > 4
