"""One stream of a client over many models: each message goes to the model that it names."""

import asyncio
import contextlib
import queue

import grpc
import pytest
import tritonclient.grpc as sync_grpc
import tritonclient.grpc.aio as aio_grpc
from tritonclient.grpc import service_pb2

from larder.api.demand import Dead, Failure, Hint, Seen, Waiting
from larder.gateway.settings import MIB
from tests.gateway.builders import Gateway, residency
from tests.gateway.fake_pod import FakePod

CONTAINER = "containerd://a"
MODELS = {"m", "n"}


@contextlib.asynccontextmanager
async def two_pods(p=("m",), q=("n",), decoupled=(), stateful=(), **settings):
    """A gateway with an operator; pods p and q that can serve m and n, and are routed to for what is given."""
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(**settings))
        pods = [FakePod(name, set(MODELS), decoupled=set(decoupled)) for name in ("p", "q")]
        for name in MODELS:
            await gateway.declare(name, stateful=name in stateful)
        for fake, models in zip(pods, (p, q), strict=True):
            await stack.enter_async_context(fake)
            await gateway.publish(fake, residency(CONTAINER, 1, *models))
        operator = await stack.enter_async_context(gateway.operator())
        yield gateway, operator, *pods


async def route(operator, pod, generation, *models):
    """Let Envoy and the activator route by a newer record."""
    await operator.send(Hint(f"uid-of-{pod}", residency(CONTAINER, generation, *models)))
    await operator.until(Seen, lambda message: message.pods.get(f"uid-of-{pod}") == (1, generation))


async def test_each_message_goes_to_the_pod_of_the_model_that_it_names():
    async with two_pods() as (gateway, _, p, q), gateway.stream() as stream:
        for number in range(3):
            await stream.send("m", f"{number}")
            await stream.send("n", f"{number}")
        found, status = await stream.end()
    assert [answer for answer in found if "/m/" in answer] == ["p/m/0", "p/m/1", "p/m/2"]
    assert [answer for answer in found if "/n/" in answer] == ["q/n/0", "q/n/1", "q/n/2"]
    assert (len(found), status) == (6, "OK")
    assert (len(p.ran), len(q.ran)) == (3, 3)


async def test_a_cold_model_holds_only_its_own_messages():
    async with two_pods(q=()) as (gateway, operator, _, _), gateway.stream() as stream:
        await stream.send("n", "1")
        await operator.until(Waiting, lambda message: "n" in message.models)
        await stream.send("n", "2")
        for number in range(3):
            await stream.send("m", f"{number}")
        assert await stream.answers(3) == ["p/m/0", "p/m/1", "p/m/2"]
        await route(operator, "q", 2, "n")
        assert await stream.end() == (["q/n/1", "q/n/2"], "OK")


async def test_all_answers_of_a_decoupled_model_come_and_the_end_only_to_who_asked():
    async with two_pods(decoupled=["m"]) as (gateway, _, _, _), gateway.stream() as stream:
        await stream.send("m", "3")
        assert await stream.answers(3) == ["p/0", "p/1", "p/2"]
        asks = {"triton_enable_empty_final_response": service_pb2.InferParameter(bool_param=True)}
        await stream.send("m", "1", parameters=asks)
        assert await stream.answers(2) == ["p/0", "the end"]
        await stream.send("m", "2")
        assert await stream.end() == (["p/0", "p/1"], "OK")


async def test_what_cannot_be_had_is_answered_in_the_stream_and_the_stream_goes_on():
    async with two_pods(q=(), longest_hold_seconds=0.3) as (gateway, operator, _, _), gateway.stream() as stream:
        await stream.send("nobody", "1")
        assert "unknown model: 'nobody'" in await stream.answer()
        await stream.send("n", "2")
        assert "did not become ready" in await stream.answer()
        await operator.send(Failure("n", "it does not fit", 30.0))
        await stream.send("n", "3")
        assert "it does not fit" in await stream.answer()
        await stream.send("m", "4")
        assert await stream.end() == (["p/m/4"], "OK")


async def test_a_malformed_message_ends_the_stream_with_a_sentence():
    async with two_pods() as (gateway, _, _, _), grpc.aio.insecure_channel(gateway.grpc) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer", None, None)(timeout=10)
        await call.write(b"\x0a\xff\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "protobuf" in await call.details()
        assert "x-envoy-ratelimited" not in dict(await call.trailing_metadata())


async def test_when_routing_stops_what_runs_ends_there_and_what_comes_goes_elsewhere():
    async with two_pods(decoupled=["m"]) as (gateway, operator, p, _), gateway.stream() as stream:
        p.gate = asyncio.Event()
        await stream.send("m", "2")
        assert await stream.answer() == "p/0"
        await route(operator, "q", 2, "m", "n")
        await route(operator, "p", 2)
        await stream.send("m", "1")
        assert await stream.answer() == "q/0"
        p.gate.set()
        assert await stream.end() == (["p/1"], "OK")
        assert [pod.ran for pod in (p,)] == [[("m", "2")]]


async def test_a_message_at_a_stale_route_waits_for_the_model():
    async with two_pods() as (gateway, operator, p, q), gateway.stream() as stream:
        await stream.send("m", "1")
        assert await stream.answer() == "p/m/1"
        p.loaded.clear()
        for number in range(5):
            await stream.send("m", f"{number}")
        await operator.until(Waiting, lambda message: "m" in message.models)
        await route(operator, "q", 2, "m", "n")
        assert await stream.end() == ([f"q/m/{number}" for number in range(5)], "OK")
        assert len(q.ran) == 5


async def test_what_ran_on_a_pod_that_dies_runs_again_elsewhere():
    async with two_pods() as (gateway, operator, p, _), gateway.stream() as stream:
        p.gate = asyncio.Event()
        for number in range(3):
            await stream.send("m", f"{number}")
        await p.until_ran(1)
        await p.die()
        await route(operator, "q", 2, "m", "n")
        assert await stream.end() == (["q/m/0", "q/m/1", "q/m/2"], "OK")


async def test_a_message_at_a_dead_process_is_answered_when_the_model_is_loaded_again():
    async with two_pods() as (gateway, operator, p, _), gateway.stream() as stream:
        p.failing["m"] = "Failed to process the request(s): Stub process 'm_0_0' is not healthy."
        for number in range(3):
            await stream.send("m", f"{number}")
        assert await operator.until(Dead) == Dead("m", "uid-of-p")
        await route(operator, "p", 2)
        p.failing.clear()
        await route(operator, "p", 3, "m")
        assert await stream.end() == (["p/m/0", "p/m/1", "p/m/2"], "OK")


@pytest.mark.parametrize("stateful", [True, False])
async def test_a_sequence_and_an_answer_in_part_are_not_repeated(stateful):
    kind = {"stateful": ["m"]} if stateful else {"decoupled": ["m"]}
    async with two_pods(**kind) as (gateway, operator, p, q), gateway.stream() as stream:
        p.gate = asyncio.Event()
        await stream.send("m", "2")
        if not stateful:
            assert await stream.answer() == "p/0"
        await p.until_ran(1)
        await route(operator, "q", 2, "m", "n")
        await p.die()
        sentence = await stream.answer()
        assert ("stateful" if stateful else "in the middle of an answer") in sentence
        assert q.ran == []
        await stream.send("m", "1")
        assert (await stream.end())[1] == "OK"
        assert q.ran == [("m", "1")]


async def test_a_client_that_goes_away_leaves_nothing_held():
    async with two_pods(q=()) as (gateway, operator, p, _):
        p.gate = asyncio.Event()
        async with gateway.stream() as stream:
            await stream.send("m", "1")
            await stream.send("n", "1")
            await p.until_ran(1)
            await operator.until(Waiting, lambda message: "n" in message.models)
            assert gateway.activator.state.held.bytes > 0
        await operator.until(Waiting, lambda message: not message.models)
        async with asyncio.timeout(10):
            while gateway.activator.state.held.bytes:  # noqa: ASYNC110 (nobody is told)
                await asyncio.sleep(0.005)


async def test_a_pod_that_answers_slowly_slows_the_client_down():
    async with (
        two_pods(body_limit_bytes=4 * MIB, held_bytes=64 * MIB) as (gateway, _, p, _),
        gateway.stream() as stream,
    ):
        p.gate = asyncio.Event()
        sending = [stream.send("m", f"{number}", raw_input_contents=[bytes(MIB)]) for number in range(120)]

        async def send():
            for one in sending:
                await one

        task = asyncio.create_task(send())
        await p.until_ran(1)
        done, _ = await asyncio.wait({task}, timeout=1.0)
        assert not done
        assert gateway.activator.state.held.bytes < 24 * MIB
        p.gate.set()
        await task
        assert len((await stream.end())[0]) == 120


async def test_more_than_may_be_held_is_refused_message_by_message():
    async with two_pods(q=(), held_bytes=100_000) as (gateway, operator, _, _), gateway.stream() as stream:
        await stream.send("n", "1", raw_input_contents=[bytes(60_000)])
        await operator.until(Waiting, lambda message: "n" in message.models)
        await stream.send("n", "2", raw_input_contents=[bytes(60_000)])
        assert "heldBytes" in await stream.answer()
        await stream.send("m", "3")
        assert await stream.answer() == "p/m/3"


async def test_the_end_of_a_gateway_ends_idle_streams_at_once_and_others_after_their_answer():
    async with two_pods() as (gateway, _, p, _), gateway.stream() as idle, gateway.stream() as busy:
        await idle.send("m", "0")
        assert await idle.answer() == "p/m/0"
        p.gate = asyncio.Event()
        await busy.send("m", "1")
        await p.until_ran(2)
        gateway.stop.set()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await idle.answer()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "going away" in ended.value.details()
        p.gate.set()
        assert await busy.answer() == "p/m/1"
        with pytest.raises(grpc.aio.AioRpcError, match="going away"):
            await busy.answer()
        await gateway.running


async def test_messages_of_streams_are_counted_as_requests_of_their_model():
    async with two_pods() as (gateway, _, _, _), gateway.stream() as stream:
        for number in range(3):
            await stream.send("m", f"{number}")
        await stream.send("nobody", "1")
        await stream.end()
        assert gateway.activator.metrics.take_streamed() == {"m": 3}


def by_callback(address):
    """Ask as users of the blocking client do; return the answers' texts."""
    found = queue.Queue()
    with sync_grpc.InferenceServerClient(address) as client:
        client.start_stream(callback=lambda result, error: found.put(error or result))
        for number, name in enumerate(("m", "n", "m")):
            client.async_stream_infer(name, [], request_id=str(number))
        answers = [found.get(timeout=20).get_response() for _ in range(3)]
        client.stop_stream()
    return {answer.raw_output_contents[0].decode() for answer in answers}


async def test_an_unmodified_blocking_client_streams():
    async with two_pods() as (gateway, _, _, _):
        assert await asyncio.to_thread(by_callback, gateway.grpc) == {"p/m/0", "q/n/1", "p/m/2"}


async def test_an_unmodified_asyncio_client_streams():
    async def requests():
        for name in ("m", "n"):
            yield {"model_name": name, "inputs": [], "request_id": "1"}

    async with two_pods() as (gateway, _, _, _):
        async with aio_grpc.InferenceServerClient(gateway.grpc) as client:
            found = [result.get_response() async for result, _ in client.stream_infer(requests())]
        assert {answer.raw_output_contents[0].decode() for answer in found} == {"p/m/1", "q/n/1"}
