"""What nobody foresaw is said in its own words, over HTTP as over gRPC."""

import json

import grpc
import pytest
from aiohttp.test_utils import make_mocked_request

from larder.errors import UnavailableError
from larder.gateway.grpc_side import GrpcSide
from larder.gateway.http_side import HttpSide


class Broken:
    """Stands for the pool's answers, which can't be had."""

    ready = True

    async def metadata(self):
        raise UnavailableError("the way to p is cut")


class AbortedError(Exception):
    pass


class Context:
    async def abort(self, code, details, metadata):
        raise AbortedError(code, details, dict(metadata))


async def test_an_http_request_that_fails_on_the_way_hears_why():
    answer = await HttpSide(None, None, None, Broken(), None).handle(make_mocked_request("GET", "/v2"))
    sentence = json.loads(answer.text)["error"]
    assert answer.status == 503 and sentence == "the request could not be passed on: the way to p is cut"
    assert answer.headers["retry-after"] == "5"


async def test_a_grpc_call_that_fails_on_the_way_hears_why():
    class Details:
        method = "/inference.GRPCInferenceService/ServerMetadata"

    handler = GrpcSide(None, None, None, Broken(), None).service(Details())
    with pytest.raises(AbortedError) as found:
        await handler.unary_unary(b"", Context())
    code, sentence, metadata = found.value.args
    assert (code, metadata["retry-after"]) == (grpc.StatusCode.UNAVAILABLE, "5")
    assert sentence == "the request could not be passed on: the way to p is cut"
