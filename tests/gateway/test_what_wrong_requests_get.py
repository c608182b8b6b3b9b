"""Every wrong request gets a status and a sentence, at once."""

import asyncio
import json

import grpc
import pytest
from aiohttp import web
from tritonclient.grpc import service_pb2

from larder.gateway.settings import MIB
from tests.gateway.builders import Gateway, residency
from tests.gateway.fake_pod import FakePod

CONTAINER = "containerd://a"
ANSWER_SECONDS = 5.0


async def http(gateway, method, path, **more):
    async with (
        asyncio.timeout(ANSWER_SECONDS),
        gateway.session.request(method, f"http://{gateway.http}{path}", **more) as answer,
    ):
        text = await answer.text()
        return answer.status, json.loads(text)["error"] if text else ""


async def refused(gateway, method, message=b"", **more):
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await gateway.call(method, message, ANSWER_SECONDS, **more)
    return found.value.code().name, found.value.details()


async def test_a_model_that_nobody_declares_is_not_found_at_once_by_name():
    async with Gateway() as gateway:
        for method, tail in (("POST", "/infer"), ("GET", "/ready"), ("GET", ""), ("GET", "/config"), ("GET", "/stats")):
            status, sentence = await http(gateway, method, f"/v2/models/nobody{tail}")
            assert (status, "nobody" in sentence) == (404, True)
        for method in ("ModelInfer", "ModelMetadata", "ModelConfig", "ModelStatistics"):
            code, sentence = await refused(gateway, method, b"\x0a\x06nobody")
            assert (code, "nobody" in sentence) == ("NOT_FOUND", True)
        assert await gateway.call("ModelReady", b"\x0a\x06nobody") == b""  # not ready, as Triton says it


async def test_admin_calls_are_forbidden_with_a_sentence():
    paths = (
        "/v2/repository/models/m/load",
        "/v2/repository/models/m/unload",
        "/v2/systemsharedmemory/region/x/register",
        "/v2/cudasharedmemory/unregister",
        "/v2/trace/setting",
        "/v2/models/m/trace/setting",
        "/v2/logging",
    )
    calls = ("RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryRegister", "CudaSharedMemoryStatus")
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        for path in paths:
            status, sentence = await http(gateway, "POST", path, json={})
            assert (status, len(sentence) > 20) == (403, True)
        for method in (*calls, "TraceSetting", "LogSettings"):
            code, sentence = await refused(gateway, method)
            assert (code, len(sentence) > 20) == ("PERMISSION_DENIED", True)


async def test_unknown_paths_methods_and_services_get_a_sentence():
    async with Gateway() as gateway:
        await gateway.declare("m")
        assert (await http(gateway, "GET", "/"))[0] == 404
        assert (await http(gateway, "GET", "/v2/models/m/nothing"))[0] == 404
        assert (await http(gateway, "DELETE", "/v2/models/m"))[0] == 405
        assert (await http(gateway, "GET", "/v2/models/%FF%0A/infer"))[0] == 405
        assert (await http(gateway, "POST", "/v2/models/%FF%0A/infer"))[0] == 404
        assert (await refused(gateway, "Nothing"))[0] == "UNIMPLEMENTED"


async def test_malformed_bodies_are_bad_requests_before_any_model_is_loaded():
    async with Gateway() as gateway:
        await gateway.declare("m")
        status, sentence = await http(gateway, "POST", "/v2/models/m/infer", data=b'{"inputs": [')
        assert (status, "JSON" in sentence) == (400, True)
        headers = {"Inference-Header-Content-Length": "many"}
        assert (await http(gateway, "POST", "/v2/models/m/infer", data=b"{}", headers=headers))[0] == 400
        assert (await http(gateway, "POST", "/v2/repository/index", data=b"["))[0] == 400
        code, sentence = await refused(gateway, "ModelInfer", b"\x0a\xff\xff\xff\xff")
        assert (code, "protobuf" in sentence) == ("INVALID_ARGUMENT", True)
        code, sentence = await refused(gateway, "ModelReady", b"\x0a\x02\xff\xfe")
        assert (code, "UTF-8" in sentence) == ("INVALID_ARGUMENT", True)
        assert (await refused(gateway, "RepositoryIndex", b"\x0a\xff"))[0] == "INVALID_ARGUMENT"


async def test_a_malformed_body_of_a_hot_model_is_a_bad_request_though_triton_calls_it_its_own_error():
    class Pod(FakePod):
        async def _infer(self, request, name):
            sentence = "failed to parse the request JSON buffer: Invalid value. at 12" if name == "m" else "it broke"
            return web.json_response({"error": sentence}, status=500)

    async with Gateway() as gateway, Pod("p", {"m", "breaks"}) as fake:
        await gateway.declare("m", "breaks")
        await gateway.publish(fake, residency(CONTAINER, 1, "m", "breaks"))
        status, sentence = await http(gateway, "POST", "/v2/models/m/infer", data=b'{"inputs": [')
        assert (status, "failed to parse" in sentence) == (400, True)
        assert await http(gateway, "POST", "/v2/models/breaks/infer", data=b"{}") == (500, "it broke")


async def test_a_body_over_the_limit_is_too_large_and_one_of_16_mb_passes():
    async def chunks(count):
        for _ in range(count):
            yield bytes(MIB)

    async with Gateway(body_limit_bytes=20 * MIB) as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m", "cold")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        for name in ("m", "cold"):
            status, sentence = await http(gateway, "POST", f"/v2/models/{name}/infer", data=bytes(21 * MIB))
            assert (status, "bodyLimit" in sentence) == (413, True)
            status, sentence = await http(gateway, "POST", f"/v2/models/{name}/infer", data=chunks(22))
            assert (status, "bodyLimit" in sentence) == (413, True)
            message = b"\x0a" + bytes([len(name)]) + name.encode() + b"\x3a\x80\x80\xc0\x0a" + bytes(21 * MIB)
            code, sentence = await refused(gateway, "ModelInfer", message)
            assert (code, "bodyLimit" in sentence) == ("RESOURCE_EXHAUSTED", True)
        body = json.dumps({"id": "x" * 16_000_000, "inputs": []}).encode()
        async with gateway.session.post(f"http://{gateway.http}/v2/models/m/infer", data=body) as answer:
            assert answer.status == 200
            assert len((await answer.json())["id"]) == 16_000_000
        with pytest.raises(grpc.aio.AioRpcError, match="larger than max"):
            await gateway.infer_grpc("m", "x" * 16_000_000)
        assert fake.ran[-1][1] == "x" * 16_000_000


async def test_compressed_and_oddly_ordered_grpc_messages_find_their_model():
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        late = b"\x1a\x02id" + b"\x9a\x06\x03abc" + b"\x0a\x01m"
        far = b"\x9a\x06\x80\x80\x01" + bytes(16384) + b"\x0a\x01m"
        twice = b"\x0a\x06nobody\x0a\x01m"
        for message in (late, far, twice):
            assert b"p/m/" in await gateway.call("ModelInfer", message)
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            assert b"p/m/" in await gateway.call("ModelInfer", b"\x0a\x01m" * 100, compression=compression)


async def test_the_demand_stream_needs_its_token():
    async with Gateway() as gateway:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            async with gateway.session.get(gateway.demand, headers=headers) as answer:
                assert answer.status == 401
        async with gateway.operator() as operator:
            await operator.socket.send_str("nonsense")
            await operator.socket.send_bytes(b"\x00")
            await gateway.declare("m")
        async with gateway.operator() as operator:
            assert (await operator.socket.receive_json())["type"] == "Waiting"


async def test_bodies_of_80_mb_pass_where_the_limit_is_raised():
    size = 80 * MIB
    async with Gateway(body_limit_bytes=90 * MIB, held_bytes=200 * MIB) as gateway, FakePod("p", {"m", "n"}) as fake:
        await gateway.declare("m")
        await gateway.declare("n", stateful=True)
        await gateway.publish(fake, residency(CONTAINER, 1, "m", "n"))
        for name in ("m", "n"):
            head = json.dumps({"id": name, "inputs": []}).encode()
            headers = {"Inference-Header-Content-Length": str(len(head))}
            url = f"http://{gateway.http}/v2/models/{name}/infer"
            async with gateway.session.post(url, data=head + bytes(size), headers=headers) as answer:
                assert (answer.status, (await answer.json())["id"]) == (200, name)
            message = service_pb2.ModelInferRequest(model_name=name, id=name, raw_input_contents=[bytes(size)])
            assert b"p/" in await gateway.call("ModelInfer", message.SerializeToString())
        async with gateway.stream() as stream:
            await stream.send("m", "1", raw_input_contents=[bytes(size)])
            assert await stream.end() == (["p/m/1"], "OK")
        assert gateway.activator.state.held.bytes == 0
