"""Through a real Envoy: what is resident is answered by its pod, what is not is held until it is."""

import asyncio
import contextlib

import grpc
import numpy as np
import pytest
import tritonclient.grpc as sync_grpc
import tritonclient.grpc.aio as aio_grpc
import tritonclient.http as sync_http
import tritonclient.http.aio as aio_http
from tritonclient.utils import InferenceServerException

from larder.adapters.prometheus_reads import COUNTER
from larder.api.demand import Counts, Failure, Hint, Seen, Waiting
from tests.gateway.builders import Gateway, residency
from tests.gateway.fake_pod import FakePod

CONTAINER = "containerd://a"


@contextlib.asynccontextmanager
async def gateway_with(*pods, **settings):
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(**settings))
        for fake in pods:
            await stack.enter_async_context(fake)
        yield gateway


def sync_answers(module, address, name):
    client = module.InferenceServerClient(address)
    tensor = module.InferInput("IN", [1], "INT32")
    tensor.set_data_from_numpy(np.array([1], dtype="int32"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(name)
    assert not client.is_model_ready("nobody") if module is sync_http else True
    metadata = client.get_model_metadata(name)
    assert (metadata["name"] if module is sync_http else metadata.name) == name
    client.get_model_config(name)
    client.get_inference_statistics(name)
    client.get_server_metadata()
    index = client.get_model_repository_index()
    states = (
        {entry["name"]: entry["state"] for entry in index}
        if module is sync_http
        else {entry.name: entry.state for entry in index.models}
    )
    answer = client.infer(name, [tensor], request_id="7").as_numpy("OUT")[0]
    client.close()
    return states, answer if isinstance(answer, str) else answer.decode()


@pytest.mark.parametrize("module", [sync_http, sync_grpc])
async def test_an_unmodified_blocking_client_works_with_a_resident_model(module):
    fake = FakePod("p", {"m"})
    async with gateway_with(fake) as gateway:
        await gateway.declare("m", "other")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        address = gateway.http if module is sync_http else gateway.grpc
        states, answer = await asyncio.to_thread(sync_answers, module, address, "m")
    assert answer == "p/m/7"
    assert states == {"m": "READY", "other": "UNAVAILABLE"}


@pytest.mark.parametrize("module", [aio_http, aio_grpc])
async def test_an_unmodified_asyncio_client_works_with_a_resident_model(module):
    fake = FakePod("p", {"m"})
    async with gateway_with(fake) as gateway:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        client = module.InferenceServerClient(gateway.http if module is aio_http else gateway.grpc)
        tensor = module.InferInput("IN", [1], "INT32")
        tensor.set_data_from_numpy(np.array([1], dtype="int32"))
        answer = await client.infer("m", [tensor], request_id="7")
        assert await client.is_model_ready("m")
        await client.close()
    assert fake.ran == [("m", "7")]
    assert answer.get_response() is not None


async def test_hot_requests_do_not_touch_the_activator():
    fake = FakePod("p", {"m"})
    async with gateway_with(fake) as gateway:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        await gateway.stop_activator()
        status, answer, _ = await gateway.infer("m")
        cold, refusal, _ = await gateway.infer("other")
    assert (status, answer["outputs"][0]["data"]) == (200, ["p/m/r"])
    assert cold == 503
    assert "activator" in refusal["error"]


async def test_a_cold_request_is_held_asked_for_and_answered_when_a_hint_says_where():
    fake = FakePod("p", {"m"})
    async with gateway_with(fake) as gateway, gateway.operator() as operator:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1))
        asked = asyncio.create_task(gateway.infer("m"))
        waiting = await operator.until(Waiting, lambda message: "m" in message.models)
        assert waiting.models["m"].count == 1
        assert 0 < waiting.models["m"].deadline_in_seconds <= 20
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        status, answer, _ = await asked
        await operator.until(Waiting, lambda message: not message.models)
        await operator.until(Seen, lambda message: message.pods.get("uid-of-p") == (1, 2))
    assert (status, answer["outputs"][0]["data"]) == (200, ["p/m/r"])


async def test_a_cold_grpc_request_ends_with_its_own_deadline():
    async with gateway_with() as gateway, gateway.operator() as operator:
        await gateway.declare("m")
        client = aio_grpc.InferenceServerClient(gateway.grpc)
        tensor = aio_grpc.InferInput("IN", [1], "INT32")
        tensor.set_data_from_numpy(np.array([1], dtype="int32"))
        with pytest.raises(InferenceServerException) as refused:
            await client.infer("m", [tensor], client_timeout=0.3)
        assert refused.value.status() in ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE")
        await operator.until(Waiting, lambda message: not message.models)
        with pytest.raises(InferenceServerException) as refused:
            await client.infer("m", [tensor], timeout=200_000)
        await client.close()
    assert refused.value.status() == "StatusCode.UNAVAILABLE"
    assert "did not become ready" in refused.value.message()


async def test_after_the_longest_hold_the_answer_is_503_with_retry_after():
    async with gateway_with(longest_hold_seconds=0.2) as gateway:
        await gateway.declare("m")
        status, answer, headers = await gateway.infer("m")
        async with grpc.aio.insecure_channel(gateway.grpc) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"\x0a\x01m")
    assert status == 503
    assert "did not become ready" in answer["error"]
    assert int(headers["Retry-After"]) >= 1
    assert "x-envoy-ratelimited" not in headers
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "retry-after" in dict(refused.value.trailing_metadata())


async def test_a_client_that_goes_away_is_forgotten_at_once():
    async with gateway_with() as gateway, gateway.operator() as operator:
        await gateway.declare("m")
        asked = asyncio.create_task(gateway.infer("m"))
        await operator.until(Waiting, lambda message: "m" in message.models)
        asked.cancel()
        await operator.until(Waiting, lambda message: not message.models)
        async with grpc.aio.insecure_channel(gateway.grpc) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)(b"\x0a\x01m")
            await operator.until(Waiting, lambda message: "m" in message.models)
            call.cancel()
            await operator.until(Waiting, lambda message: not message.models)
        assert gateway.activator.state.held.bytes == 0


async def test_a_known_failure_answers_who_waits_and_who_comes_until_it_expires():
    fake = FakePod("p", {"m"})
    async with gateway_with(fake) as gateway, gateway.operator() as operator:
        await gateway.declare("m")
        asked = asyncio.create_task(gateway.infer("m"))
        await operator.until(Waiting, lambda message: "m" in message.models)
        await operator.send(Failure("m", "no config.pbtxt", 30.0))
        status, answer, headers = await asked
        again, _, _ = await gateway.infer("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        healed, _, _ = await gateway.infer("m")
    assert (status, again, healed) == (503, 503, 200)
    assert "no config.pbtxt" in answer["error"]
    assert 1 <= int(headers["Retry-After"]) <= 30


async def test_more_held_bytes_than_the_bound_are_refused_at_once():
    async with gateway_with(held_bytes=100_000) as gateway, gateway.operator() as operator:
        await gateway.declare("m")
        first = asyncio.create_task(gateway.infer("m", "x" * 60_000))
        await operator.until(Waiting, lambda message: "m" in message.models)
        status, answer, _ = await gateway.infer("m", "x" * 60_000)
        async with grpc.aio.insecure_channel(gateway.grpc) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"\x0a\x01m\x1a\xe0\xd4\x03" + b"y" * 60_000)
        first.cancel()
    assert status == 503
    assert "heldBytes" in answer["error"]
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_requests_are_counted_by_model_once_a_second():
    fake = FakePod("p", {"m"})
    async with gateway_with(fake) as gateway, gateway.operator() as operator:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        for _ in range(5):
            await gateway.infer("m")
            await gateway.infer("nobody")
        total = 0
        while total < 5:
            counts = await operator.until(Counts)
            operator.last.pop(Counts)
            assert set(counts.models) <= {"m"}
            total += sum(count.requests for count in counts.models.values())
        assert total == 5
        async with gateway.session.get(gateway.metrics) as page:
            text = await page.text()
    assert "nobody" not in text
    assert 'model="m"' in text
    assert "larder_gateway_cold_requests_total" in text
    assert f'{COUNTER}{{model="m"' in text, "what Prometheus is asked for"


async def test_trailing_metadata_of_a_pod_reaches_the_client_hot_and_through_the_activator():
    fake = FakePod("p", {"m", "n"})
    async with gateway_with(fake) as gateway, grpc.aio.insecure_channel(gateway.grpc) as channel:
        await gateway.declare("m")
        await gateway.declare("n", stateful=True)
        await gateway.publish(fake, residency(CONTAINER, 1, "m", "n"))
        for name in (b"m", b"n"):
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)(b"\x0a\x01" + name)
            await call
            assert dict(await call.trailing_metadata()) == {"served-by": "p"}
