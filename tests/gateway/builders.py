"""A gateway as in its pod (a real Envoy, the activator), who calls it, and objects of its cluster."""

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
