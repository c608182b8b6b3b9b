"""What the operator talks to besides the API server: Triton and its meter at the address of every pod, and gateways.

One process plays all of them over real gRPC, HTTP and WebSockets. Triton's control keeps the semantics that were
measured: a load answers when it is done, an unload at once, the index is always that of the whole repository.
"""

import asyncio
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from aiohttp import WSMsgType, web
from tritonclient.grpc import service_pb2 as messages

from larder.api import names
from larder.api.demand import PATH, Counts, Hint, Message, ModelCount, Seen, Waiting, WaitingModel, decode_message
from larder.api.demand import encode_message as encoded
from larder.api.metering import READ_PATH, STREAM_PATH, ContainerUse, Reading
from larder.api.metering import encode as metered

LOAD_SECONDS: Final = 0.2
UNLOAD_SECONDS: Final = 0.02
EXECUTION_SECONDS: Final = 0.005
METER_SECONDS: Final = 1.0
COUNT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 60.0
SERVICE: Final = "inference.GRPCInferenceService"
READY, LOADING, UNLOADING, UNLOADED = "READY", "LOADING", "UNLOADING", "UNAVAILABLE"


@dataclass(slots=True)
class Repository:
    """The models that every Triton has in its repository, what each takes, and the empty server.

    `lines` are those of the index for models that were never loaded, encoded: each index has thousands of them.
    """

    models: tuple[str, ...]
    model_bytes: int
    server_bytes: int
    lines: dict[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = {name: _index_line(name, "", "") for name in self.models}


def _index_line(name: str, state: str, reason: str) -> bytes:
    line = messages.RepositoryIndexResponse()
    line.models.add(name=name, version="1" if state else "", state=state, reason=reason)
    encoded_line: bytes = line.SerializeToString()
    return encoded_line


@dataclass(slots=True)
class Triton:
    """The control of one Triton server. `calls` counts what was asked; `asked` is told the model of each load."""

    repository: Repository
    asked: Callable[[str], None]
    hot: frozenset[str] = frozenset()
    states: dict[str, str] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    executed: Counter[str] = field(default_factory=Counter)
    busy_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def taken_bytes(self) -> int:
        """What the server and its models take."""
        loaded = sum(state in (READY, UNLOADING) for state in self.states.values())
        return self.repository.server_bytes + loaded * self.repository.model_bytes

    def handlers(self) -> dict[str, Any]:
        """The calls that the operator makes. The index is sent as bytes that are encoded already."""
        calls: dict[str, tuple[Any, Any, Callable[[Any], bytes]]] = {
            "RepositoryModelLoad": (self._load, messages.RepositoryModelLoadRequest, _whole),
            "RepositoryModelUnload": (self._unload, messages.RepositoryModelUnloadRequest, _whole),
            "RepositoryIndex": (self._index, messages.RepositoryIndexRequest, bytes),
            "ModelConfig": (self._config, messages.ModelConfigRequest, _whole),
            "ModelStatistics": (self._statistics, messages.ModelStatisticsRequest, _whole),
        }
        return {
            name: grpc.unary_unary_rpc_method_handler(
                answer, request_deserializer=request.FromString, response_serializer=encode
            )
            for name, (answer, request, encode) in calls.items()
        }

    def _move(self, model: str, state: str) -> None:
        self.states[model] = state
        self.moved.set()

    async def _load(self, request: Any, _: Any) -> Any:
        self.calls["load"] += 1
        self.asked(request.model_name)
        self._move(request.model_name, LOADING)
        # A task of its own: a caller that goes away does not stop it.
        await asyncio.shield(self._later(request.model_name, READY, LOAD_SECONDS))
        return messages.RepositoryModelLoadResponse()

    async def _unload(self, request: Any, _: Any) -> Any:
        self.calls["unload"] += 1
        if self.states.get(request.model_name) == READY:
            self._move(request.model_name, UNLOADING)
            self._later(request.model_name, UNLOADED, UNLOAD_SECONDS)
        return messages.RepositoryModelUnloadResponse()

    def _later(self, model: str, state: str, seconds: float) -> asyncio.Task[None]:
        async def change() -> None:
            await asyncio.sleep(seconds)
            self._move(model, state)

        task = asyncio.create_task(change())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _index(self, _: Any, __: Any) -> bytes:
        self.calls["index"] += 1
        known = {n: _index_line(n, s, "unloaded" if s == UNLOADED else "") for n, s in self.states.items()}
        return b"".join(known.get(name) or line for name, line in self.repository.lines.items())

    async def _config(self, request: Any, context: Any) -> Any:
        self.calls["config"] += 1
        if self.states.get(request.name) != READY:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        return messages.ModelConfigResponse()

    async def _statistics(self, _: Any, __: Any) -> Any:
        """Each time one more execution of what is used, which takes not quite the same time."""
        self.calls["statistics"] += 1
        answer = messages.ModelStatisticsResponse()
        for name in [name for name, state in self.states.items() if state == READY]:
            if name in self.hot:
                self.executed[name] += 1
                self.busy_seconds[name] += EXECUTION_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311 (no secret)
            counters = answer.model_stats.add(name=name, version="1").inference_stats
            counters.success.count = counters.compute_infer.count = self.executed[name]
            counters.compute_infer.ns = int(self.busy_seconds[name] * 1e9)
        return answer


def _whole(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


class Fleet:
    """Triton and meter at every address."""

    def __init__(self, repository: Repository, addresses: list[str]) -> None:
        self.asked_seconds: dict[str, float] = {}
        """When a load of each model was last asked for, on the monotonic clock."""
        self.tritons = {address: Triton(repository, self._asked) for address in addresses}
        self._numbers = itertools.count()

    def use(self, models: tuple[str, ...]) -> None:
        """These are executed all the time, wherever they are."""
        for triton in self.tritons.values():
            triton.hot = frozenset(models)

    def _asked(self, model: str) -> None:
        self.asked_seconds[model] = time.monotonic()

    def calls(self, name: str) -> Counter[str]:
        """How often each address was asked for this."""
        return Counter({address: triton.calls[name] for address, triton in self.tritons.items()})

    def forget_calls(self) -> None:
        """Count from here on anew."""
        for triton in self.tritons.values():
            triton.calls.clear()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer at every address while the block runs."""
        servers, app = [], web.Application()
        app.router.add_get(READ_PATH, self._read)
        app.router.add_get(STREAM_PATH, self._stream)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            for port in (names.METER_PORT, names.METRICS_PORT):
                await web.TCPSite(runner, "0.0.0.0", port).start()
            for address, triton in self.tritons.items():
                server = grpc.aio.server()
                server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, triton.handlers()),))
                server.add_insecure_port(f"{address}:{names.GRPC_PORT}")
                await server.start()
                servers.append(server)
            yield
        finally:
            await asyncio.gather(*(server.stop(0) for server in servers))
            await runner.cleanup()

    def _reading(self, triton: Triton) -> bytes:
        use = ContainerUse(triton.taken_bytes)
        return metered(Reading(next(self._numbers), time.time(), {"": use})).encode() + b"\n"

    async def _read(self, request: web.Request) -> web.Response:
        return web.Response(body=self._reading(self.tritons[_address(request)]))

    async def _metrics(self, request: web.Request) -> web.Response:
        """Of each model that is in memory the counters, also while it leaves."""
        held = [n for n, state in self.tritons[_address(request)].states.items() if state in (READY, UNLOADING)]
        return web.Response(text="".join(f'nv_inference_request_success{{model="{n}",version="1"}} 0\n' for n in held))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        triton, answer = self.tritons[_address(request)], web.StreamResponse()
        await answer.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            triton.moved.clear()
            await answer.write(self._reading(triton))
            try:
                async with asyncio.timeout(METER_SECONDS):
                    await triton.moved.wait()
            except TimeoutError:
                continue
        return answer


def _address(request: web.Request) -> str:
    assert request.transport is not None
    return str(request.transport.get_extra_info("sockname")[0])


class Gateways:
    """All gateway pods. They acknowledge every hint, count requests of the models in `hot`, and can be made to wait."""

    def __init__(self) -> None:
        self.hot: tuple[str, ...] = ()
        self.routable: dict[str, frozenset[str]] = {}
        """By pod: what it may be sent requests for, as it was told last."""
        self.withdrawn_seconds: list[float] = []
        """When a pod was told to serve a model no more, on the monotonic clock."""
        self._seen: dict[str, tuple[int, int]] = {}
        self._waiting: dict[str, float] = {}
        self._sockets: list[web.WebSocketResponse] = []
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Take demand streams at every address while the block runs."""
        app = web.Application()
        app.router.add_get(PATH, self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        counting = asyncio.create_task(self._count())
        try:
            await web.TCPSite(runner, "0.0.0.0", names.DEMAND_PORT).start()
            yield
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            await runner.cleanup()

    def forget(self) -> None:
        """Another operator comes: what this one told is not known any more."""
        self.routable.clear()

    async def until(self, holds: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until something holds of what was told; asked after every hint."""
        async with asyncio.timeout(timeout_seconds), self._changed:
            await self._changed.wait_for(holds)

    async def wait_for(self, model: str) -> float:
        """Let a request wait for a model until a pod may be sent it; return when it began, on the monotonic clock."""
        began = self._waiting[model] = time.monotonic()
        await self._say_waiting()
        try:
            await self.until(lambda: any(model in told for told in self.routable.values()), LONGEST_WAIT_SECONDS)
        finally:
            del self._waiting[model]
            await self._say_waiting()
        return began

    async def nudge(self, model: str) -> None:
        """Count a request of a model, for which the operator looks at the whole pool."""
        if self._sockets:
            await self._say(self._sockets[-1], Counts(0.0, {model: ModelCount(1)}))

    async def _say_waiting(self) -> None:
        now = time.monotonic()
        held = {
            name: WaitingModel(1, now - began, LONGEST_WAIT_SECONDS - (now - began))
            for name, began in self._waiting.items()
        }
        if self._sockets:
            await self._say(self._sockets[0], Waiting(held))

    async def _say(self, socket: web.WebSocketResponse, message: Message) -> None:
        if not socket.closed:
            await socket.send_str(encoded(message))

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self._sockets.append(socket)
        try:
            await self._say(socket, Waiting({}))
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    await self._hear(socket, decode_message(frame.data))
        finally:
            self._sockets.remove(socket)
        return socket

    async def _hear(self, socket: web.WebSocketResponse, message: Message) -> None:
        if not isinstance(message, Hint):
            return
        self._seen[message.pod_uid] = message.residency.version
        told = message.residency.routable
        if self.routable.get(message.pod_uid, frozenset()) - told:
            self.withdrawn_seconds.append(time.monotonic())
        self.routable[message.pod_uid] = told
        await self._say(socket, Seen(self._seen))
        async with self._changed:
            self._changed.notify_all()

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            counts = {name: ModelCount(1, 0, 1, 0) for name in self.hot}
            for number, socket in enumerate(list(self._sockets)):
                await self._say(socket, Counts(COUNT_SECONDS, counts if number == 0 else {}))
