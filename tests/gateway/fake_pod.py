"""A pod of Triton that speaks V2 over HTTP and gRPC on a loopback address of its own."""

import asyncio
import json
from dataclasses import dataclass, field

import grpc
from aiohttp import web
from tritonclient.grpc import service_pb2, service_pb2_grpc

from larder.api import names
from tests.gateway.builders import free_address, pod

FULL = "Exceeds maximum queue size"


@dataclass
class FakePod:
    """A Triton pod's data plane: 404 / NOT_FOUND for what is not loaded, an answer that names pod, model and request.

    `gate`, when set, holds every inference until it is opened; `resets` cuts that many HTTP inferences off; `queue` is
    how many inferences it takes at once, and `rejected` how many were too many.
    A model in `decoupled` answers a message of a stream as often as its id says, and is gated before the last answer.
    """

    name: str
    loaded: set = field(default_factory=set)
    failing: dict = field(default_factory=dict)
    ip: str = field(default_factory=free_address)
    gate: asyncio.Event | None = None
    resets: int = 0
    decoupled: set = field(default_factory=set)
    queue: int | None = None
    rejected: int = 0
    ran: list = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self):
        server = web.Server(self._http, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.ip, names.HTTP_PORT).start()
        self._grpc = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Service(self), self._grpc)
        self._grpc.add_insecure_port(f"{self.ip}:{names.GRPC_PORT}")
        await self._grpc.start()
        return self

    async def __aexit__(self, *exception):
        await self.die()

    async def die(self):
        await self._runner.cleanup()
        await self._grpc.stop(0)

    def manifest(self, record=None, **more):
        return pod(self.name, self.ip, record, **more)

    async def until_ran(self, count):
        async with asyncio.timeout(20), self.arrived:
            await self.arrived.wait_for(lambda: len(self.ran) >= count)

    async def run(self, name, request):
        if self.queue == 0:
            self.rejected += 1
            return FULL
        if self.queue is None:
            return await self._ran(name, request)
        self.queue -= 1
        try:
            await asyncio.sleep(0.001)
            return await self._ran(name, request)
        finally:
            self.queue += 1

    async def _ran(self, name, request):
        async with self.arrived:
            self.ran.append((name, request))
            self.arrived.notify_all()
        if self.gate is not None:
            await self.gate.wait()
        if self.resets:
            self.resets -= 1
            return None
        return f"{self.name}/{name}/{request}"

    async def _http(self, request):  # noqa: PLR0911 (a table of paths)
        parts = request.path.split("/")
        if request.path == "/v2":
            return web.json_response({"name": "triton", "version": "2.51.0", "extensions": ["statistics"]})
        if request.path == "/v2/models/stats":
            stats = [{"name": name, "version": "1", "inference_count": 2, "last_inference": 5} for name in self.loaded]
            return web.json_response({"model_stats": stats})
        name = parts[3]
        if name not in self.loaded:
            # As 2.51 says it: of a model that was loaded once, with its version 503; of readiness and statistics 400.
            status = 400 if parts[-1] in ("ready", "stats") else 503 if "versions" in parts else 404
            return web.json_response({"error": f"Request for unknown model: '{name}' is not found"}, status=status)
        if "versions" in parts and parts[5] != "1":
            return web.json_response({"error": f"version {parts[5]} of '{name}' is not found"}, status=404)
        if parts[-1] == "infer":
            return await self._infer(request, name)
        if parts[-1] == "generate_stream":
            return await self._stream(request, name)
        if parts[-1] == "stats":
            return web.json_response({"model_stats": [{"name": name, "version": "1", "inference_count": 2}]})
        return web.json_response({"name": name, "versions": ["1"], "platform": self.name, "inputs": [], "outputs": []})

    async def _infer(self, request, name):
        body = b"".join([chunk async for chunk in request.content.iter_any()])
        length = request.headers.get("Inference-Header-Content-Length")
        header = json.loads(body if length is None else body[: int(length)])
        answer = await self.run(name, header.get("id", ""))
        if name in self.failing:
            return web.json_response({"error": self.failing[name]}, status=500)
        if answer == FULL:
            return web.json_response({"error": FULL}, status=503)
        if answer is None:
            request.transport.abort()
            return web.Response(status=500)
        output = {"name": "OUT", "datatype": "BYTES", "shape": [1], "data": [answer]}
        return web.json_response(
            {"model_name": name, "model_version": "1", "id": header.get("id", ""), "outputs": [output]}
        )

    async def _stream(self, request, name):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(3):
            if number and self.gate is not None:
                await self.gate.wait()
            await response.write(f"data: {self.name}/{name}/{number}\n\n".encode())
        return response


class _Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, owner):
        self.owner = owner

    async def _found(self, name, context, version=""):
        if name not in self.owner.loaded and version:
            text = f"Request for unknown model: '{name}' version {version} is not at ready state"
            await context.abort(grpc.StatusCode.UNAVAILABLE, text)
        if name not in self.owner.loaded:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")

    async def ModelInfer(self, request, context):  # noqa: N802
        await self._found(request.model_name, context, request.model_version)
        if request.model_version not in ("", "1"):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"version {request.model_version} is not found")
        answer = await self.owner.run(request.model_name, request.id)
        context.set_trailing_metadata((("served-by", self.owner.name),))
        if request.model_name in self.owner.failing:
            await context.abort(grpc.StatusCode.INTERNAL, self.owner.failing[request.model_name])
        if answer == FULL:
            await context.abort(grpc.StatusCode.UNAVAILABLE, FULL)
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        response.outputs.add(name="OUT", datatype="BYTES", shape=[1])
        response.raw_output_contents.append(len(answer).to_bytes(4, "little") + answer.encode())
        return response

    async def ModelReady(self, request, context):  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=request.name in self.owner.loaded)

    async def ModelMetadata(self, request, context):  # noqa: N802
        await self._found(request.name, context)
        return service_pb2.ModelMetadataResponse(name=request.name, versions=["1"], platform=self.owner.name)

    async def ModelConfig(self, request, context):  # noqa: N802
        await self._found(request.name, context)
        response = service_pb2.ModelConfigResponse()
        response.config.name = request.name
        response.config.model_transaction_policy.decoupled = request.name in self.owner.decoupled
        return response

    async def ModelStreamInfer(self, requests, context):  # noqa: N802
        in_turn, writing = asyncio.Lock(), asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            async for request in requests:
                if request.model_name not in self.owner.loaded:
                    text = f"Request for unknown model: '{request.model_name}' is not found"
                    answer = service_pb2.ModelStreamInferResponse(error_message=text)
                    answer.infer_response.id = request.id
                    await context.write(answer)
                elif request.model_name in self.owner.decoupled:
                    group.create_task(self._answers(request, context, writing))
                else:
                    group.create_task(self._answer(request, context, in_turn))

    async def _answer(self, request, context, in_turn):
        async with in_turn:
            text = await self.owner.run(request.model_name, request.id)
            answer = _streamed(request, text, final=True)
            answer.error_message = self.owner.failing.get(request.model_name, "")
            await context.write(answer)

    async def _answers(self, request, context, writing):
        count = int(request.id)
        for number in range(count):
            if number == count - 1:
                await self.owner.run(request.model_name, request.id)
            async with writing:
                await context.write(_streamed(request, f"{self.owner.name}/{number}", final=False))
        if request.parameters["triton_enable_empty_final_response"].bool_param:
            async with writing:
                await context.write(_streamed(request, None, final=True))

    async def ModelStatistics(self, request, context):  # noqa: N802
        if request.name not in self.owner.loaded:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"requested model '{request.name}' is not available")
        response = service_pb2.ModelStatisticsResponse()
        response.model_stats.add(name=request.name, version="1", inference_count=2)
        return response


def _streamed(request, text, final):
    answer = service_pb2.ModelStreamInferResponse()
    answer.infer_response.model_name, answer.infer_response.id = request.model_name, request.id
    answer.infer_response.parameters["triton_final_response"].bool_param = final
    if text is not None:
        answer.infer_response.outputs.add(name="OUT", datatype="BYTES", shape=[1])
        answer.infer_response.raw_output_contents.append(text.encode())
    return answer
