"""The activator's calls to a pod whose object has vanished: nobody tells that they are lost."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from multidict import CIMultiDict
from tritonclient.grpc import service_pb2

from larder.gateway import grpc_upstream, http_upstream
from larder.gateway.dispatch import Answered, Broken
from larder.gateway.grpc_upstream import GrpcUpstream, Request
from larder.gateway.http_upstream import HttpUpstream
from larder.gateway.routes import Endpoint
from tests.gateway.fake_pod import FakePod

MESSAGE = service_pb2.ModelInferRequest(model_name="m", id="r").SerializeToString()


async def ask_rpc(calls, fake):
    return await calls.attempt(Endpoint("uid", fake.name, fake.ip, (1, 1)), Request("ModelInfer", MESSAGE, ()), "m")


async def ask_http(calls, fake):
    request = http_upstream.Request("POST", "/v2/models/m/infer", CIMultiDict(), b'{"id": "r", "inputs": []}')
    return await calls.attempt(Endpoint("uid", fake.name, fake.ip, (1, 1)), request, "m")


SIDES = pytest.mark.parametrize(
    ("module", "upstream", "ask"), [(grpc_upstream, GrpcUpstream, ask_rpc), (http_upstream, HttpUpstream, ask_http)]
)


@asynccontextmanager
async def asked(upstream, ask):
    """A call that its pod has begun and does not answer."""
    async with FakePod("p", {"m"}, gate=asyncio.Event()) as fake, upstream(time.monotonic) as calls:
        call = asyncio.create_task(ask(calls, fake))
        await fake.until_ran(1)
        yield fake, calls, call


@SIDES
async def test_a_call_to_the_last_pod_that_vanishes_may_still_be_answered(module, upstream, ask):
    async with asked(upstream, ask) as (fake, calls, call):
        calls.keep(())
        await asyncio.sleep(0)
        fake.gate.set()
        assert isinstance(await call, Answered)


@SIDES
async def test_a_call_that_a_vanished_pod_never_answers_is_given_up_on_and_can_be_made_elsewhere(
    monkeypatch, module, upstream, ask
):
    monkeypatch.setattr(module, "GONE_SECONDS", 0.05)
    async with asked(upstream, ask) as (_, calls, call):
        calls.keep(())
        calls.keep(())
        assert await asyncio.wait_for(call, 5) == Broken(sent=True, message="connection closed: the pod is gone")


async def test_a_client_that_goes_away_ends_its_call():
    async with asked(GrpcUpstream, ask_rpc) as (_, _, call):
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert call.cancelled()


async def test_an_answer_that_comes_in_pieces_ends_when_its_pod_has_vanished(monkeypatch):
    monkeypatch.setattr(http_upstream, "GONE_SECONDS", 0.05)
    async with FakePod("p", {"m"}, gate=asyncio.Event()) as fake, HttpUpstream(time.monotonic) as http:
        request = http_upstream.Request("POST", "/v2/models/m/generate_stream", CIMultiDict(), b"{}")
        outcome = await http.attempt(Endpoint("uid", fake.name, fake.ip, (1, 1)), request, "m")
        pieces: asyncio.Queue[bytes] = asyncio.Queue()
        pouring = asyncio.create_task(http.pour(outcome.value, pieces.put))
        assert await pieces.get() == b"data: p/m/0\n\n"
        http.keep(())
        with pytest.raises(ConnectionResetError, match="gone"):
            await asyncio.wait_for(pouring, 5)
        outcome.value.source.close()
