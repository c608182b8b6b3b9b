"""What races a decision of ours ends in the activator, not in the client's face."""

import asyncio
import contextlib

import grpc
import pytest

from larder.api.demand import Hint, Seen, Waiting
from tests.gateway.builders import Gateway, residency
from tests.gateway.fake_pod import FakePod

CONTAINER = "containerd://a"
PARALLEL = 64


async def answers(gateway, protocol, name, count=PARALLEL):
    if protocol == "http":
        asked = [gateway.infer(name, str(number)) for number in range(count)]
        found = await asyncio.gather(*asked)
        assert [status for status, _, _ in found] == [200] * count
        return [answer["outputs"][0]["data"][0] for _, answer, _ in found]
    return await asyncio.gather(*(gateway.infer_grpc(name, str(number)) for number in range(count)))


@contextlib.asynccontextmanager
async def a_model_on_one_pod(**spec):
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake, FakePod("q") as spare, gateway.operator() as operator:
        await gateway.declare("m", **spec)
        await gateway.publish(spare, residency(CONTAINER, 1))
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        yield gateway, operator, fake, spare


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_64_requests_at_a_stale_route_get_64_right_answers(protocol):
    async with a_model_on_one_pod() as (gateway, operator, fake, spare):
        fake.loaded.clear()
        asked = asyncio.create_task(answers(gateway, protocol, "m"))
        await operator.until(Waiting, lambda message: "m" in message.models and message.models["m"].count == PARALLEL)
        spare.loaded.add("m")
        await operator.send(Hint("uid-of-q", residency(CONTAINER, 2, "m")))
        assert await asked == [f"q/m/{number}" for number in range(PARALLEL)]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_64_requests_at_a_dead_pod_get_64_right_answers(protocol):
    async with a_model_on_one_pod() as (gateway, operator, fake, spare):
        await fake.die()
        asked = asyncio.create_task(answers(gateway, protocol, "m"))
        await operator.until(Waiting, lambda message: "m" in message.models and message.models["m"].count == PARALLEL)
        spare.loaded.add("m")
        await operator.send(Hint("uid-of-q", residency(CONTAINER, 2, "m")))
        assert await asked == [f"q/m/{number}" for number in range(PARALLEL)]


async def test_a_model_that_comes_back_on_the_same_pod_is_found_without_a_new_record():
    async with a_model_on_one_pod() as (gateway, operator, fake, _):
        fake.loaded.clear()
        asked = asyncio.create_task(answers(gateway, "http", "m", 8))
        await operator.until(Waiting, lambda message: "m" in message.models and message.models["m"].count == 8)
        fake.loaded.add("m")
        assert await asked == [f"p/m/{number}" for number in range(8)]


async def test_a_request_cut_off_by_its_pod_is_sent_again():
    async with a_model_on_one_pod() as (gateway, _, fake, _):
        fake.resets = 1
        assert await answers(gateway, "http", "m", 1) == ["p/m/0"]
        assert len(fake.ran) == 2


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_requests_that_run_on_a_pod_that_dies_run_again_elsewhere(protocol):
    async with a_model_on_one_pod() as (gateway, operator, fake, spare):
        fake.gate = asyncio.Event()
        asked = asyncio.create_task(answers(gateway, protocol, "m", 8))
        await fake.until_ran(8)
        spare.loaded.add("m")
        await fake.die()
        await operator.send(Hint("uid-of-q", residency(CONTAINER, 2, "m")))
        assert await asked == [f"q/m/{number}" for number in range(8)]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_a_stateful_model_runs_once_for_a_request_whose_pod_is_lost(protocol):
    async with a_model_on_one_pod(stateful=True) as (gateway, operator, fake, spare):
        fake.gate, spare.loaded = asyncio.Event(), {"m"}
        asked = asyncio.create_task(gateway.infer("m") if protocol == "http" else gateway.infer_grpc("m"))
        await fake.until_ran(1)
        await operator.send(Hint("uid-of-q", residency(CONTAINER, 2, "m")))
        await fake.die()
        if protocol == "http":
            status, answer, headers = await asked
            assert (status, "Retry-After" in headers) == (503, True)
            assert "stateful" in answer["error"]
        else:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asked
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "stateful" in refused.value.details()
        assert len(fake.ran) + len(spare.ran) == 1


async def test_a_404_of_triton_about_a_model_that_is_ready_there_reaches_the_client():
    async with a_model_on_one_pod() as (gateway, _, _, _):
        url = f"http://{gateway.http}/v2/models/m/versions/7/infer"
        async with gateway.session.post(url, json={"inputs": []}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (404, "version 7 of 'm' is not found")
        message = b"\x0a\x01m\x12\x017"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await gateway.call("ModelInfer", message)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert refused.value.details() == "version 7 is not found"


async def test_every_way_in_which_triton_says_that_a_model_is_not_there_is_taken_for_a_stale_route():
    infer, base = {"json": {"inputs": []}}, "/v2/models/m"
    async with a_model_on_one_pod() as (gateway, operator, fake, _):
        fake.loaded.clear()
        url = f"http://{gateway.http}{base}"
        ready = await gateway.session.get(f"{url}/ready")
        assert ready.status == 200  # a Model that can be had is ready; nothing has to be loaded to say so
        asked = [
            asyncio.create_task(gateway.session.post(f"{url}/versions/1/infer", **infer)),
            *(
                asyncio.create_task(gateway.session.get(url + tail))
                for tail in ("", "/stats", "/config", "/versions/1")
            ),
            asyncio.create_task(gateway.session.get(f"{url}/versions/1/ready")),
        ]
        called = [
            asyncio.create_task(gateway.call("ModelInfer", b"\x0a\x01m\x12\x011")),
            *(asyncio.create_task(gateway.call(f"Model{name}", b"\x0a\x01m")) for name in ("Metadata", "Statistics")),
        ]
        await operator.until(Waiting, lambda message: "m" in message.models and message.models["m"].count == 9)
        fake.loaded.add("m")
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 6
        assert all(await asyncio.gather(*called))


async def test_a_container_that_restarted_in_place_is_not_routed_to_until_its_own_record_comes():
    async with a_model_on_one_pod() as (gateway, operator, fake, _):
        fake.loaded.clear()
        restarted = {"container": "containerd://b"}
        await gateway.kube.put(fake.manifest(residency(CONTAINER, 1, "m"), **restarted))
        count = 0
        while gateway.activator.state.copies("m"):
            count = await gateway.activator.state.routed.after(count)
        asked = asyncio.create_task(gateway.infer("m"))
        await operator.until(Waiting, lambda message: "m" in message.models)
        assert fake.ran == []
        fake.loaded.add("m")
        await gateway.publish(fake, residency("containerd://b", 2, "m"), **restarted)
        assert (await asked)[0] == 200


async def test_streamed_generation_passes_through_hot_and_cold():
    expected = [f"data: p/m/{number}" for number in range(3)]
    async with a_model_on_one_pod() as (gateway, operator, _, _):
        url = f"http://{gateway.http}/v2/models/m/generate_stream"
        async with gateway.session.post(url, json={}) as answer:
            assert (await answer.text()).split("\n\n")[:3] == expected
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, draining=["m"])))
        await operator.until(Seen, lambda message: message.pods.get("uid-of-p") == (1, 2))
        asked = asyncio.create_task(gateway.session.post(url, json={}))
        await operator.until(Waiting, lambda message: "m" in message.models)
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 3, "m")))
        assert (await (await asked).text()).split("\n\n")[:3] == expected


@pytest.mark.parametrize("stateful", [False, True])
async def test_streamed_generation_comes_as_it_is_made(stateful):
    """Stateful models pass the activator, others do not."""
    async with a_model_on_one_pod(stateful=stateful) as (gateway, _, fake, _):
        fake.gate = asyncio.Event()
        async with gateway.session.post(f"http://{gateway.http}/v2/models/m/generate_stream", json={}) as answer:
            async with asyncio.timeout(10):
                assert await answer.content.readuntil(b"\n\n") == b"data: p/m/0\n\n"
            fake.gate.set()
            assert (await answer.read()).endswith(b"data: p/m/2\n\n")
