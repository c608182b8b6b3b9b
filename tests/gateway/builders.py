"""A gateway as in its pod (a real Envoy, the activator), pods that speak V2 on loopback addresses, a fake cluster."""

import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import grpc
from aiohttp import web
from tritonclient.grpc import service_pb2, service_pb2_grpc

from larder.api import names
from larder.api.demand import PATH, decode_message, encode_message
from larder.api.residency import Residency, Resident, encode
from larder.gateway import envoy
from larder.gateway.activator import Activator
from larder.gateway.settings import Settings
from tests.adapters.fake_kube import FakeKube

POOL, NAMESPACE, TOKEN = "pool", "tests", "token-of-tests"
MIB = 1024 * 1024
_addresses = (f"127.{os.getpid() % 200 + 20}.{n // 250}.{n % 250 + 2}" for n in itertools.count())


def free_address():
    """A loopback address that nothing of this process uses yet, for the product's own ports."""
    return next(_addresses)


def residency(container, generation, *models, term=1, draining=(), since=0.0):
    listed = {name: Resident(since_seconds=since) for name in models} | {
        name: Resident(routable=False) for name in draining
    }
    return Residency(container, term, generation, listed)


FULL = "Exceeds maximum queue size"


def model(name, **spec):
    return {
        "apiVersion": names.API_VERSION,
        "kind": "Model",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"pool": POOL, **spec},
    }


def pod(name, ip, record=None, container="containerd://a", labels=None):
    annotations = {} if record is None else {names.RESIDENCY_ANNOTATION: encode(record)}
    pool_labels = {names.POOL_LABEL: POOL, names.COMPONENT_LABEL: names.TRITON}
    running = {"name": "triton", "ready": True, "containerID": container, "state": {"running": {}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "namespace": NAMESPACE,
            "labels": pool_labels if labels is None else labels,
            "annotations": annotations,
        },
        "status": {"podIP": ip, "phase": "Running", "containerStatuses": [running]},
    }


@dataclass
class FakePod:
    """A Triton pod's data plane: 404 / NOT_FOUND for what is not loaded, an answer that names pod, model and request.

    `gate`, when set, holds every inference until it is opened; `resets` cuts that many HTTP inferences off; `queue` is
    how many inferences it takes at once, and `rejected` how many were too many.
    `gate`, when set, holds every inference until it is opened; `resets` cuts that many HTTP inferences off.
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


@dataclass
class Operator:
    """The other end of a demand stream; keeps the last message of each type."""

    socket: aiohttp.ClientWebSocketResponse
    last: dict = field(default_factory=dict)
    all: list = field(default_factory=list)

    async def send(self, message):
        await self.socket.send_str(encode_message(message))

    async def until(self, kind, true=lambda message: True):
        """Return the first message of this type, from now on or already here, for which the condition holds."""
        if kind in self.last and true(self.last[kind]):
            return self.last[kind]
        async with asyncio.timeout(20):
            while True:
                message = decode_message((await self.socket.receive()).data)
                self.last[type(message)] = message
                self.all.append(message)
                if isinstance(message, kind) and true(message):
                    return message


@dataclass
class Stream:
    """A client's stream, with answers as text: an error's sentence, what the model said, or None at its end."""

    call: grpc.aio.StreamStreamCall

    async def send(self, name, request, **more):
        await self.call.write(service_pb2.ModelInferRequest(model_name=name, id=request, **more))

    async def answer(self):
        async with asyncio.timeout(20):
            answer = await self.call.read()
        if answer is grpc.aio.EOF:
            return None
        said = answer.infer_response.raw_output_contents
        return answer.error_message or (said[0].decode() if said else "the end")

    async def answers(self, count):
        return [await self.answer() for _ in range(count)]

    async def end(self):
        """Say that no message follows; return the answers that were still to come and the status."""
        await self.call.done_writing()
        found = []
        while (answer := await self.answer()) is not None:
            found.append(answer)
        return found, (await self.call.code()).name


@dataclass
class Gateway:
    """One gateway pod of the pool, its API server included, as an async context manager."""

    longest_hold_seconds: float = 20.0
    held_bytes: int = 64 * MIB
    held_requests: int = 10_000
    body_limit_bytes: int = 20 * MIB
    envoy_memory_bytes: int = 1024 * MIB
    tls_dir: Path | None = None
    kube: FakeKube = field(default_factory=FakeKube)

    async def __aenter__(self):
        self._stack = contextlib.AsyncExitStack()
        await self._stack.enter_async_context(self.kube)
        self.client = self.kube.client()
        self._stack.push_async_callback(self.client.close)
        run_dir = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gw"))
        self.settings = Settings(
            pool=POOL,
            namespace=NAMESPACE,
            longest_hold_seconds=self.longest_hold_seconds,
            held_bytes=self.held_bytes,
            held_requests=self.held_requests,
            body_limit_bytes=self.body_limit_bytes,
            envoy_memory_bytes=self.envoy_memory_bytes,
            demand_token=TOKEN,
            tls_dir=self.tls_dir,
            run_dir=Path(run_dir),
            bind_address=free_address(),
        )
        ports, address = self.settings.ports, self.settings.bind_address
        self.http, self.grpc = f"{address}:{ports.http}", f"{address}:{ports.grpc}"
        self.probe, self.metrics = f"http://{address}:{ports.probe}", f"http://{address}:{ports.metrics}/metrics"
        self.demand = f"http://{address}:{ports.demand}{PATH}"
        self.session = await self._stack.enter_async_context(aiohttp.ClientSession())
        self._stack.push_async_callback(self.stop_activator)
        self._stack.push_async_callback(self.stop_envoy)
        self.start_activator()
        await self.start_envoy()
        await self.until_ready()
        return self

    async def __aexit__(self, *exception):
        await self._stack.aclose()

    def start_activator(self):
        self.stop = asyncio.Event()
        self.activator = Activator(self.settings)
        self.running = asyncio.create_task(self.activator.run(self.client, self.stop))

    async def stop_activator(self):
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def start_envoy(self):
        path = self.settings.run_dir / "envoy.json"
        path.write_text(json.dumps(envoy.bootstrap(self.settings)))
        if self.tls_dir is not None:
            self.settings.certificate_file.write_text(json.dumps(envoy.certificate(self.settings)))
        binary = Path(sys.prefix) / "bin" / "envoy"
        self._log = (self.settings.run_dir / "envoy.log").open("wb")
        self.envoy = await asyncio.create_subprocess_exec(
            *(str(binary), "-c", str(path), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"),
            stdout=self._log,
            stderr=self._log,
        )

    async def stop_envoy(self):
        if self.envoy.returncode is None:
            self.envoy.kill()
        await self.envoy.wait()
        self._log.close()
        if "KEEP_ENVOY_LOG" in os.environ:
            print((self.settings.run_dir / "envoy.log").read_text())

    async def until_ready(self):
        url, text = f"{self.probe}/readyz", "no answer"
        try:
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with self.session.get(url) as answer:
                            text = await answer.text()
                            if answer.status == 200:
                                return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log = (self.settings.run_dir / "envoy.log").read_text()
            ended = self.running.exception() if self.running.done() else "it runs"
            text += f"; activator: {ended}; Envoy ({self.envoy.returncode}): {log}"
            raise AssertionError(f"not ready: {text}") from None

    async def ready_text(self):
        """What the readiness probe says."""
        async with self.session.get(f"{self.probe}/readyz") as answer:
            return await answer.text()

    @contextlib.asynccontextmanager
    async def operator(self, token=TOKEN):
        async with self.session.ws_connect(self.demand, headers={"Authorization": f"Bearer {token}"}) as socket:
            yield Operator(socket)

    async def declare(self, *found, **spec):
        for name in found:
            await self.kube.put(model(name, **spec))
        async with asyncio.timeout(20):
            while not all(name in (self.activator.state.models or {}) for name in found):  # noqa: ASYNC110 (nobody is told)
                await asyncio.sleep(0.005)

    async def publish(self, fake, record, **more):
        """Write a pod with its residency, and wait until Envoy routes by it."""
        await self.kube.put(fake.manifest(record, **more))
        uid = f"uid-of-{fake.name}"
        async with asyncio.timeout(20):
            while self.activator.state.acknowledged.get(uid) != record.version:
                count = self.activator.state.seen.count
                if self.activator.state.acknowledged.get(uid) != record.version:
                    await self.activator.state.seen.after(count)

    async def infer_grpc(self, name, request="r", timeout=20.0):
        """Send one inference over gRPC; return the answer's text."""
        message = service_pb2.ModelInferRequest(model_name=name, id=request).SerializeToString()
        answer = await self.call("ModelInfer", message, timeout)
        return service_pb2.ModelInferResponse.FromString(answer).raw_output_contents[0][4:].decode()

    async def call(self, method, message, timeout=20.0, **more):
        """Send raw bytes to a method of the gRPC listener on a channel of its own."""
        async with grpc.aio.insecure_channel(self.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            return await channel.unary_unary(f"/inference.GRPCInferenceService/{method}", None, None)(
                message, timeout=timeout, **more
            )

    @contextlib.asynccontextmanager
    async def stream(self):
        """Open a stream of messages on a channel of its own."""
        async with grpc.aio.insecure_channel(self.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stream = Stream(service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer())
            yield stream
            stream.call.cancel()

    async def infer(self, name, request="r", headers=None):
        """Send one inference over HTTP; return (status, JSON, headers)."""
        body = {"id": request, "inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [1]}]}
        url = f"http://{self.http}/v2/models/{name}/infer"
        async with self.session.post(url, json=body, headers=headers) as answer:
            return answer.status, await answer.json(), answer.headers
