"""The activator's calls to a pod whose object has vanished: nobody tells that they are lost."""

import asyncio
import time

import pytest
from multidict import CIMultiDict
from tritonclient.grpc import service_pb2

from larder.gateway import grpc_upstream, http_upstream
from larder.gateway.dispatch import Answered, Broken
from larder.gateway.grpc_upstream import GrpcUpstream, Request
from larder.gateway.http_upstream import HttpUpstream
from larder.gateway.routes import Endpoint
from tests.gateway.builders import FakePod

MESSAGE = service_pb2.ModelInferRequest(model_name="m", id="r").SerializeToString()


async def attempt(calls, fake):
    return await calls.attempt(Endpoint("uid", fake.name, fake.ip, (1, 1)), Request("ModelInfer", MESSAGE, ()), "m")


async def test_a_call_to_the_last_pod_that_vanishes_may_still_be_answered():
    async with FakePod("p", {"m"}, gate=asyncio.Event()) as fake, GrpcUpstream(time.monotonic) as calls:
        asked = asyncio.create_task(attempt(calls, fake))
        await fake.until_ran(1)
        calls.keep(())
        await asyncio.sleep(0)
        fake.gate.set()
        assert isinstance(await asked, Answered)


async def test_a_call_that_a_vanished_pod_never_answers_is_given_up_on_and_can_be_made_elsewhere(monkeypatch):
    monkeypatch.setattr(grpc_upstream, "GONE_SECONDS", 0.05)
    async with FakePod("p", {"m"}, gate=asyncio.Event()) as fake, GrpcUpstream(time.monotonic) as calls:
        asked = asyncio.create_task(attempt(calls, fake))
        await fake.until_ran(1)
        calls.keep(())
        assert await asyncio.wait_for(asked, 5) == Broken(sent=True, message="connection closed: the pod is gone")


async def test_a_client_that_goes_away_ends_its_call():
    async with FakePod("p", {"m"}, gate=asyncio.Event()) as fake, GrpcUpstream(time.monotonic) as calls:
        asked = asyncio.create_task(attempt(calls, fake))
        await fake.until_ran(1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert asked.cancelled()


async def ask(http, fake):
    request = http_upstream.Request("POST", "/v2/models/m/infer", CIMultiDict(), b'{"id": "r", "inputs": []}')
    return await http.attempt(Endpoint("uid", fake.name, fake.ip, (1, 1)), request, "m")


async def test_an_http_call_that_a_vanished_pod_never_answers_is_given_up_on_and_can_be_made_elsewhere(monkeypatch):
    monkeypatch.setattr(http_upstream, "GONE_SECONDS", 0.05)
    async with FakePod("p", {"m"}, gate=asyncio.Event()) as fake, HttpUpstream(time.monotonic) as http:
        asked = asyncio.create_task(ask(http, fake))
        await fake.until_ran(1)
        http.keep(())
        http.keep(())
        assert await asyncio.wait_for(asked, 5) == Broken(sent=True, message="connection closed: the pod is gone")


async def test_an_http_call_to_a_pod_that_vanishes_may_still_be_answered():
    async with FakePod("p", {"m"}, gate=asyncio.Event()) as fake, HttpUpstream(time.monotonic) as http:
        asked = asyncio.create_task(ask(http, fake))
        await fake.until_ran(1)
        http.keep(())
        await asyncio.sleep(0)
        fake.gate.set()
        assert isinstance(await asked, Answered)


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
