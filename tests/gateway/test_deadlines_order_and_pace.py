"""Who is held, in which order, how fast they go on, and who is told at once that the model comes too late."""

import asyncio
import contextlib

import grpc
import pytest
import tritonclient.grpc.aio as aio_grpc
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from larder.api.demand import Failure, Hint, Prediction, Waiting
from larder.gateway.pacing import FIRST_WINDOW
from tests.gateway.builders import Gateway, residency
from tests.gateway.fake_pod import FakePod

CONTAINER = "containerd://a"


@contextlib.asynccontextmanager
async def a_cold_model(fake, **spec):
    async with Gateway() as gateway, fake, gateway.operator() as operator:
        await gateway.declare("m", **spec)
        await gateway.publish(fake, residency(CONTAINER, 1))
        yield gateway, operator


def wanted(message):
    return "m" in message.models


async def until_held(gateway, count):
    async with asyncio.timeout(20):
        while len(gateway.activator.state.room.line("m")) != count:
            await gateway.activator.state.demand.after(gateway.activator.state.demand.count)


def timed(request, microseconds):
    message = service_pb2.ModelInferRequest(model_name="m", id=request)
    message.parameters["timeout"].int64_param = microseconds
    return message.SerializeToString()


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call
    return refusal.value


async def test_who_cannot_wait_as_long_as_predicted_is_told_at_once_while_the_load_goes_on():
    async with a_cold_model(FakePod("p", {"m"})) as (gateway, operator):
        impatient = asyncio.create_task(refused(gateway.call("ModelInfer", timed("1", 2_000_000))))
        await operator.until(Waiting, wanted)
        patient = asyncio.create_task(gateway.infer("m", "2"))
        await operator.until(Waiting, lambda message: wanted(message) and message.models["m"].count == 2)
        await operator.send(Prediction("m", 6.5))
        refusal = await impatient
        assert refusal.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(refusal.trailing_metadata())["retry-after"] == "7"
        assert "6.5 s" in refusal.details()
        late = await refused(gateway.call("ModelInfer", service_pb2_request("3"), timeout=3.0))
        assert late.code() is grpc.StatusCode.UNAVAILABLE
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        assert (await patient)[0] == 200


def service_pb2_request(request):
    return service_pb2.ModelInferRequest(model_name="m", id=request).SerializeToString()


async def test_over_http_the_request_s_own_timeout_is_its_deadline():
    async with a_cold_model(FakePod("p", {"m"})) as (gateway, operator):
        url, body = f"http://{gateway.http}/v2/models/m/infer", {"inputs": [], "parameters": {"timeout": 2_000_000}}
        asked = asyncio.create_task(gateway.session.post(url, json=body))
        await operator.until(Waiting, wanted)
        await operator.send(Prediction("m", 4.2))
        answer = await asked
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert "4.2 s" in (await answer.json())["error"]
        # It stays asked for, though nobody is held.
        await operator.until(Waiting, lambda message: wanted(message) and message.models["m"].deadline_in_seconds > 3)
        assert len(gateway.activator.state.room) == 0
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        await operator.until(Waiting, lambda message: not message.models)


async def test_a_prediction_that_is_overtaken_sends_nobody_away():
    async with a_cold_model(FakePod("p", {"m"})) as (gateway, operator):
        await operator.send(Prediction("m", 30.0))
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        client = aio_grpc.InferenceServerClient(gateway.grpc)
        async with asyncio.timeout(20):
            while True:
                try:
                    await client.infer("m", [], client_timeout=5.0)
                    break
                except InferenceServerException as error:
                    assert error.status() == "StatusCode.UNAVAILABLE"
        await client.close()


async def test_held_requests_go_by_deadline_and_as_many_at_once_as_the_copy_s_window():
    fake = FakePod("p", {"m"}, gate=asyncio.Event())
    async with a_cold_model(fake) as (gateway, operator):
        total = 2 * FIRST_WINDOW + 8
        calls = []
        for number in range(total):
            seconds = 19 - 0.25 * number
            call = gateway.call("ModelInfer", timed(str(number), int(seconds * 1e6)), timeout=30)
            calls.append(asyncio.create_task(call))
        await operator.until(Waiting, lambda message: wanted(message) and message.models["m"].count == total)
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        await fake.until_ran(FIRST_WINDOW)
        await operator.until(Waiting, lambda message: not message.models)
        assert len(fake.ran) == FIRST_WINDOW
        assert {request for _, request in fake.ran} == {str(total - 1 - turn) for turn in range(FIRST_WINDOW)}
        assert len(gateway.activator.state.room) == total - FIRST_WINDOW
        fake.gate.set()
        assert len(await asyncio.gather(*calls)) == total
        assert len(fake.ran) == total


async def test_a_hundred_first_requests_at_once_ask_for_one_model_and_are_all_answered():
    async with a_cold_model(FakePod("p", {"m"})) as (gateway, operator):
        http = asyncio.gather(*(gateway.infer("m", str(number)) for number in range(50)))
        calls = asyncio.gather(*(gateway.infer_grpc("m", str(number)) for number in range(50, 100)))
        await operator.until(Waiting, lambda message: wanted(message) and message.models["m"].count == 100)
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        answers = [*(answer["outputs"][0]["data"][0] for _, answer, _ in await http), *await calls]
    assert answers == [f"p/m/{number}" for number in range(100)]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_what_the_model_s_queue_does_not_take_waits_instead_of_failing(protocol):
    fake = FakePod("p", {"m"}, queue=3)
    async with a_cold_model(fake) as (gateway, operator):
        ask = gateway.infer if protocol == "http" else gateway.infer_grpc
        asked = asyncio.gather(*(ask("m", str(number)) for number in range(20)))
        await operator.until(Waiting, lambda message: wanted(message) and message.models["m"].count == 20)
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        answers = await asked
    texts = [answer if protocol == "grpc" else answer[1]["outputs"][0]["data"][0] for answer in answers]
    assert texts == [f"p/m/{number}" for number in range(20)]
    assert fake.rejected > 0


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_a_client_that_leaves_while_it_waits_for_its_turn_takes_none(protocol):
    fake = FakePod("p", {"m"}, gate=asyncio.Event())
    async with a_cold_model(fake) as (gateway, operator):
        ask = gateway.infer if protocol == "http" else gateway.infer_grpc
        calls = [asyncio.create_task(ask("m", str(number))) for number in range(FIRST_WINDOW + 4)]
        await operator.until(Waiting, lambda m: wanted(m) and m.models["m"].count == FIRST_WINDOW + 4)
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        await fake.until_ran(FIRST_WINDOW)
        ran = {request for _, request in fake.ran}
        gone = [call for number, call in enumerate(calls) if str(number) not in ran]
        for call in gone:
            call.cancel()
        await until_held(gateway, 0)
        fake.gate.set()
        answered = [call for call in calls if call not in gone]
        assert len(await asyncio.gather(*answered)) == FIRST_WINDOW
        assert len(fake.ran) == FIRST_WINDOW
        assert gateway.activator.state.held.requests == 0


async def test_one_model_s_burst_leaves_room_for_the_others():
    async with Gateway(held_requests=4) as gateway, gateway.operator() as operator:
        await gateway.declare("m", "other")
        held = [asyncio.create_task(gateway.infer("m")) for _ in range(2)]
        await operator.until(Waiting, lambda message: wanted(message) and message.models["m"].count == 2)
        status, answer, headers = await gateway.infer("m")
        assert (status, "heldRequests" in answer["error"], "Retry-After" in headers) == (503, True, True)
        refusal = await refused(gateway.call("ModelInfer", service_pb2_request("1")))
        assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        held.append(asyncio.create_task(gateway.infer("other")))
        await operator.until(Waiting, lambda message: "other" in message.models)
        await operator.send(Failure("other", "no such file", 5.0))
        assert (await held[2])[0] == 503
        for call in held:
            call.cancel()


async def test_a_request_with_which_its_pod_is_lost_again_and_again_is_not_run_for_ever():
    fake = FakePod("p", {"m"}, resets=100)
    async with a_cold_model(fake) as (gateway, operator):
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        status, answer, _ = await gateway.infer("m")
    assert status == 500
    assert "not run again" in answer["error"]
    assert len(fake.ran) <= 4
