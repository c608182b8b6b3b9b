"""A python model whose process has ended is told from one that raises, which runs once."""

import asyncio
import contextlib

import grpc
import pytest

from larder.api.demand import Dead, Hint, Waiting
from larder.gateway.dispatch import MOST_LOSSES
from tests.gateway.builders import Gateway, residency
from tests.gateway.fake_pod import FakePod

CONTAINER = "containerd://a"
WORDS = "Failed to process the request(s) for model instance 'm_0_0', message: "
DEAD = WORDS + "Stub process 'm_0_0' is not healthy."
RAISED = WORDS + "ValueError: the stub of this tree is not healthy"

both = pytest.mark.parametrize("protocol", ["http", "grpc"])


@contextlib.asynccontextmanager
async def a_model_on(*fakes, **spec):
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway())
        operator = await stack.enter_async_context(gateway.operator())
        await gateway.declare("m", "well", **spec)
        for fake in fakes:
            await stack.enter_async_context(fake)
            await gateway.publish(fake, residency(CONTAINER, 1, *fake.loaded))
        yield gateway, operator


async def ask(gateway, protocol, name="m"):
    """The answer's text, or the status and the sentence of an error."""
    if protocol == "http":
        status, answer, _ = await gateway.infer(name)
        return answer["outputs"][0]["data"][0] if status == 200 else (status, answer["error"])
    try:
        return await gateway.infer_grpc(name)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()


@both
async def test_a_request_at_a_dead_process_is_held_and_answered_when_the_model_is_loaded_again(protocol):
    fake = FakePod("p", {"m"}, {"m": DEAD})
    async with a_model_on(fake) as (gateway, operator):
        asked = asyncio.create_task(ask(gateway, protocol))
        assert await operator.until(Dead) == Dead("m", "uid-of-p")
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, draining=["m"])))
        await operator.until(Waiting, lambda message: "m" in message.models)
        fake.failing.clear()
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 3, "m")))
        assert await asked == "p/m/r"


@both
async def test_with_another_copy_the_client_hears_nothing_of_a_dead_process(protocol):
    dead, alive = FakePod("p", {"m"}, {"m": DEAD}), FakePod("q", {"m"})
    async with a_model_on(dead, alive) as (gateway, _):
        assert await asyncio.gather(*(ask(gateway, protocol) for _ in range(16))) == ["q/m/r"] * 16


@both
async def test_a_model_that_raises_runs_exactly_once_for_a_request(protocol):
    fake, other = FakePod("p", {"m"}, {"m": RAISED}), FakePod("q", {"m"}, {"m": RAISED})
    async with a_model_on(fake, other) as (gateway, _):
        status, sentence = await ask(gateway, protocol)
        assert status in (500, grpc.StatusCode.INTERNAL)
        assert sentence == RAISED
        assert len(fake.ran) + len(other.ran) == 1


@both
async def test_a_stateful_model_whose_process_is_dead_is_not_asked_again(protocol):
    fake = FakePod("p", {"m"}, {"m": DEAD})
    async with a_model_on(fake, stateful=True) as (gateway, _):
        status, sentence = await ask(gateway, protocol)
        assert status in (503, grpc.StatusCode.UNAVAILABLE)
        assert "stateful" in sentence
        assert len(fake.ran) == 1


@both
async def test_a_model_that_always_fails_under_load_costs_another_on_its_pod_nothing(protocol):
    fake = FakePod("p", {"m", "well"}, {"m": RAISED})
    async with a_model_on(fake) as (gateway, _):
        failing = [asyncio.create_task(ask(gateway, protocol)) for _ in range(64)]
        answers = [await ask(gateway, protocol, "well") for _ in range(20)]
        assert answers == ["p/well/r"] * 20
        assert {sentence for _, sentence in await asyncio.gather(*failing)} == {RAISED}
        assert len(fake.ran) == 84


async def test_a_request_that_ends_each_process_that_it_runs_in_is_given_up_with_a_sentence():
    async with a_model_on(FakePod("p", {"m"}, {"m": DEAD})) as (gateway, operator):
        asked = asyncio.create_task(ask(gateway, "http"))
        for turn in range(MOST_LOSSES - 1):
            await operator.until(Waiting, lambda message: "m" in message.models)
            await operator.send(Hint("uid-of-p", residency(CONTAINER, 2 * turn + 2)))
            await operator.until(Waiting, lambda message: "m" in message.models)
            operator.last.clear()
            await operator.send(Hint("uid-of-p", residency(CONTAINER, 2 * turn + 3, "m", since=turn + 1.0)))
        status, sentence = await asked
    assert (status, "not run again" in sentence) == (500, True)


async def test_a_dead_process_is_one_loss_however_often_other_models_of_its_pod_change():
    fake = FakePod("p", {"m"}, {"m": DEAD})
    async with a_model_on(fake) as (gateway, operator):
        asked = asyncio.create_task(ask(gateway, "http"))
        for turn in range(MOST_LOSSES + 1):
            await fake.until_ran(turn + 1)
            await operator.send(Hint("uid-of-p", residency(CONTAINER, turn + 2, "m", f"other-{turn}")))
        fake.failing.clear()
        assert await asked == "p/m/r"


async def test_a_dead_process_that_is_met_again_before_its_reload_is_no_other_loss():
    fake = FakePod("p", {"m"}, {"m": DEAD})
    async with a_model_on(fake) as (gateway, _):
        asked = asyncio.create_task(ask(gateway, "http"))
        await fake.until_ran(MOST_LOSSES + 2)
        fake.failing.clear()
        assert await asked == "p/m/r"
