"""A Triton control server with the semantics measured on 2.51: loads answer when done and outlive their caller,
unloads answer at once and pass through UNLOADING, and what is asked is recorded in order.
"""

import asyncio
from dataclasses import dataclass, field

import grpc
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as stubs

from larder.api import names

KEY = "key-of-tests"
RELOAD_SECONDS = 0.1


@dataclass
class FakeModel:
    """One model of the repository. A gate that is set lets its load or unload end; None: it ends at once."""

    state: str = ""
    reason: str = ""
    fails: str = ""
    members: tuple[str, ...] = ()
    takes_mib: int = 0
    """What a meter sees of it while it is loaded, in a process of its own where it `tells`."""
    tells: bool = False
    load_gate: asyncio.Event | None = None
    changed: bool = False
    unload_gate: asyncio.Event | None = None
    executed: int = 0
    execution_seconds: float = 0.01
    failed: int = 0
    failed_seconds: float = 0.0
    lost_loads: int = 0
    """So many loads end as if the connection had broken, and begin nothing."""
    silent_configs: int = 0
    """So many questions for the configuration are not answered."""


@dataclass
class FakeTriton(stubs.GRPCInferenceServiceServicer):
    """Serves on a free port of the loopback address while used as an async context manager."""

    models: dict[str, FakeModel] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""
    most_loading: int = 0
    called: asyncio.Condition = field(default_factory=asyncio.Condition)
    host: str = "127.0.0.1"
    port: int = 0

    async def __aenter__(self):
        self._tasks: set[asyncio.Task] = set()
        await self.come_back()
        return self

    async def __aexit__(self, *exception):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.stop(0)

    async def vanish(self):
        """Its node is lost: nothing answers there, and nobody says so."""
        await self._server.stop(0)

    async def come_back(self):
        """It answers, at the same address as before."""
        self._server = grpc.aio.server()
        stubs.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"{self.host}:{self.port}")
        self.address = f"{self.host}:{self.port}"
        await self._server.start()

    def restart(self):
        """The container restarted in place: nothing is loaded any more."""
        for model in self.models.values():
            model.state = model.reason = ""

    def named(self, call):
        """The models that this call was made for, in order."""
        return [model for name, model in self.calls if name == call]

    async def until(self, true):
        """Wait until the condition is true of this server; looked at after every call and change of state."""
        async with asyncio.timeout(20), self.called:
            await self.called.wait_for(lambda: true(self))

    async def _note(self, *call):
        async with self.called:
            if call:
                self.calls.append(call)
            self.called.notify_all()

    async def _admit(self, context):
        keys = dict(context.invocation_metadata())
        if keys.get(f"triton-grpc-protocol-{names.TRITON_ADMIN_HEADER}") != KEY:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "This protocol is restricted, expecting header")

    def _spawn(self, coroutine):
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def ServerLive(self, request, context):  # noqa: N802
        return messages.ServerLiveResponse(live=True)

    async def RepositoryModelLoad(self, request, context):  # noqa: N802
        await self._admit(context)
        await self._note("load", request.model_name)
        model = self.models.get(request.model_name)
        if model is not None and model.lost_loads > 0:
            model.lost_loads -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        # Shielded by being a task of its own: a caller that goes away does not stop it.
        error = await asyncio.shield(self._spawn(self._load(request.model_name)))
        if error is not None:
            await context.abort(*error)
        return messages.RepositoryModelLoadResponse()

    async def _load(self, name):
        model = self.models.get(name)
        if model is None:
            return grpc.StatusCode.INTERNAL, f"failed to load '{name}', failed to poll from model repository"
        reload = model.state == "READY"
        if reload and not model.changed:
            return None
        if reload:
            # Starting a model takes a while, unlike finding that no file changed.
            await asyncio.sleep(RELOAD_SECONDS)
        else:
            model.state = "LOADING"
            await self._note()
        self.most_loading = max(self.most_loading, sum(m.state == "LOADING" for m in self.models.values()))
        if model.load_gate is not None:
            await model.load_gate.wait()
        if model.fails:
            if not reload:
                model.state, model.reason = "UNAVAILABLE", model.fails
            await self._note()
            return grpc.StatusCode.INVALID_ARGUMENT, f"load failed for model '{name}': {model.fails}"
        model.state, model.reason = "READY", ""
        for member in model.members:
            self.models.setdefault(member, FakeModel()).state = "READY"
        await self._note()
        return None

    async def RepositoryModelUnload(self, request, context):  # noqa: N802
        await self._admit(context)
        model = self.models.get(request.model_name)
        if model is not None and model.state == "READY":
            self._spawn(self._unload(model))
            model.state = "UNLOADING"
        await self._note("unload", request.model_name)
        return messages.RepositoryModelUnloadResponse()

    async def _unload(self, model):
        if model.unload_gate is not None:
            await model.unload_gate.wait()
        model.state, model.reason = "UNAVAILABLE", "unloaded"
        await self._note()

    async def RepositoryIndex(self, request, context):  # noqa: N802
        await self._admit(context)
        await self._note("index", "")
        answer = messages.RepositoryIndexResponse()
        for name, model in self.models.items():
            answer.models.add(name=name, version="1" if model.state else "", state=model.state, reason=model.reason)
        return answer

    async def ModelConfig(self, request, context):  # noqa: N802
        model = self.models.get(request.name)
        if model is None or model.state != "READY":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        await self._note("config", request.name)
        if model.silent_configs > 0:
            model.silent_configs -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        answer = messages.ModelConfigResponse()
        for member in model.members:
            answer.config.ensemble_scheduling.step.add(model_name=member)
        return answer

    async def ModelStatistics(self, request, context):  # noqa: N802
        await self._note("statistics", "")
        answer = messages.ModelStatisticsResponse()
        for name, model in self.models.items():
            if model.state == "READY":
                line = answer.model_stats.add(name=name, version="1")
                line.inference_stats.success.count = model.executed
                line.inference_stats.fail.count = model.failed
                line.inference_stats.fail.ns = int(model.failed_seconds * 1e9)
                line.inference_stats.compute_infer.count = model.executed
                line.inference_stats.compute_infer.ns = int(model.executed * model.execution_seconds * 1e9)
        return answer
