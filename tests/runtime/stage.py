"""A stage for one pool: the operator, an API server, Triton servers and gateways, all over real connections.

Pods are put on the stage by the test; there is no scheduler and no kubelet.
"""

import asyncio
import base64
import copy
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from larder.adapters.demand_socket import open_socket
from larder.adapters.kube.events import Recorder
from larder.adapters.kube.lease import LeaseStore
from larder.adapters.meter import open_gpu_meter, open_meter
from larder.adapters.triton import TritonControl
from larder.api import names
from larder.api.demand import (
    Counts,
    Failure,
    Hint,
    ModelCount,
    Prediction,
    Seen,
    Waiting,
    WaitingModel,
    decode_message,
    encode_message,
)
from larder.api.residency import decode
from larder.runtime.leadership import Leadership, Timing
from larder.runtime.operator import Operator
from larder.runtime.pool_runner import Surface
from larder.runtime.state import Clock, Timings
from larder.runtime.status_writer import StatusWriter
from larder.runtime.steady import SteadyTime
from tests.adapters.fake_counters import FakeCounters
from tests.adapters.fake_kube import FakeKube
from tests.adapters.fake_meter import FakeMeter
from tests.adapters.fake_triton import KEY, FakeModel, FakeTriton
from tests.adapters.serving import on_loopback
from tests.runtime import builders

TOKEN = "token-of-tests"
NOBODY = "127.0.0.1:1"
"""Where nothing listens: a pod without a meter."""
QUICK = Timings(
    drain_acknowledged=0.3,
    index_pauses=(0.002, 0.01),
    leaking_pause=0.02,
    settle=0.01,
    status=0.01,
    trouble=0.05,
    members_pause=0.02,
)


@dataclass
class FakeGateway:
    """A gateway's end of the demand stream. It acknowledges hints at once unless it is `deaf`."""

    deaf: bool = False
    hints: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    predictions: list = field(default_factory=list)
    seen: dict = field(default_factory=dict)
    tokens: list = field(default_factory=list)
    address: str = ""

    async def __aenter__(self):
        self._sockets, self._heard, self._waiting = set(), asyncio.Condition(), {}
        app = web.Application()
        app.router.add_get("/v1/demand", self._serve)
        self._runner, self.address = await on_loopback(app)
        return self

    async def __aexit__(self, *exception):
        await self.cut()
        await self._runner.cleanup()

    async def cut(self):
        """Break every stream off."""
        for socket in list(self._sockets):
            await socket.close()

    async def ask(self, model, count=1, seconds=30.0):
        """Requests for this model begin to wait; a count of 0 ends that."""
        self._waiting[model] = WaitingModel(count, 0.0, seconds)
        await self.say(Waiting(dict(self._waiting)))

    async def say(self, message):
        """Send to whoever follows."""
        for socket in list(self._sockets):
            await socket.send_str(encode_message(message))

    async def until(self, true):
        """Wait until the condition is true; looked at after everything that was heard."""
        async with asyncio.timeout(20), self._heard:
            await self._heard.wait_for(lambda: true(self))

    def routable(self, uid):
        """What the newest hint of a pod lets this gateway route."""
        found = [hint.residency for hint in self.hints if hint.pod_uid == uid]
        return max(found, key=lambda r: r.version).routable if found else frozenset()

    @property
    def followed(self):
        return bool(self._sockets)

    async def _serve(self, request):
        self.tokens.append(request.headers.get("Authorization"))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(encode_message(Waiting(dict(self._waiting))))
        async with self._heard:
            self._sockets.add(socket)
            self._heard.notify_all()
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                await self._take(socket, decode_message(frame.data))
        self._sockets.discard(socket)
        return socket

    async def _take(self, socket, message):
        async with self._heard:
            if isinstance(message, Hint):
                self.hints.append(message)
                self.seen[message.pod_uid] = message.residency.version
            elif isinstance(message, Failure):
                self.failures.append(message)
            elif isinstance(message, Prediction):
                self.predictions.append(message)
            self._heard.notify_all()
        if isinstance(message, Hint) and not self.deaf:
            await socket.send_str(encode_message(Seen(dict(self.seen))))


class Stage:
    """One namespace with one operator; use as an async context manager."""

    def __init__(self, timings=QUICK, metrics=None):
        self.timings, self.metrics = timings, metrics
        self.tritons, self.gateways, self.meters, self.counters = {}, {}, {}, {}
        self._addresses = {}
        self.skipped_seconds = 0.0
        """Time that went by on all clocks at once."""
        self.jumped_seconds = 0.0
        """What the wall clock shows too much."""

    async def __aenter__(self):
        self._stack = AsyncExitStack()
        self.kube = await self._stack.enter_async_context(FakeKube())
        await self.kube.put(_secret())
        return self

    async def __aexit__(self, *exception):
        if hasattr(self, "_task"):
            await self.stop()
        await self._stack.aclose()

    async def start(self):
        """Start an operator; it leads at once where nobody else holds the Lease."""
        client = self.client = self.kube.client()
        lease = LeaseStore(client, "tests", "larder-operator", time.time)
        timing = Timing(retry_seconds=0.02, rest_seconds=0.02)
        self.leadership = Leadership(lease, f"replica-{id(client)}", time.monotonic, timing)
        recorder = Recorder(client, "replica-0", time.time)
        surface = Surface(
            cluster=client,
            open_control=lambda address, key: TritonControl(
                self._addresses[address], key, self._addresses.get(f"metrics of {address}", NOBODY)
            ),
            open_meter=lambda address, token: open_meter(self._addresses.get(address, NOBODY), token),
            open_gpu_meter=lambda address, token: open_gpu_meter(self._addresses.get(address, NOBODY), token),
            open_stream=lambda address, token: open_socket(self._addresses.get(address, address), token),
            notes=recorder,
            statuses=StatusWriter(client, self.leadership.check, time.monotonic),
            fence=self.leadership,
            clock=Clock(SteadyTime(self._wall, self._monotonic), self._monotonic),
            timings=self.timings,
            platform=builders.PLATFORM,
            make_key=lambda: "made",
            metrics=self.metrics,
        )
        self.operator = Operator(surface, self.leadership, recorder)
        self._task = asyncio.create_task(self.operator.run((), lambda: 0.0))
        self._task.add_done_callback(lambda task: task.cancelled() or task.result())
        for manifest in self.kube.all("modelpools"):
            self.operator.put_pool(copy.deepcopy(manifest))

    def _wall(self):
        return time.time() + self.skipped_seconds + self.jumped_seconds

    def _monotonic(self):
        return time.monotonic() + self.skipped_seconds

    @property
    def runner(self):
        """The runner of the only pool; None between terms."""
        return next((running.runner for running in self.operator._running.values()), None)

    async def counted(self, seconds=1.0, **requests):
        """So much time goes by on the operator's clock, in which each gateway counted this; it was heard."""
        links = self.runner.state.gateways._links
        before = {uid: link.counted_seconds for uid, link in links.items()}
        for gateway in self.gateways.values():
            await gateway.say(Counts(seconds, {name: ModelCount(count) for name, count in requests.items()}))
        async with asyncio.timeout(10):
            while any(link.counted_seconds == before.get(uid) for uid, link in links.items()):  # noqa: ASYNC110
                await asyncio.sleep(0)
        self.skipped_seconds += seconds
        self.runner.wake()

    async def minute(self, **requests):
        """A minute goes by in which each gateway counted this, and the forecast has taken it in."""
        forecasts = self.runner.state.forecasts
        watched = forecasts.watched_intervals
        await self.counted(60.0, **requests)
        async with asyncio.timeout(10):
            while forecasts.watched_intervals == watched:  # noqa: ASYNC110 (nobody tells when an interval closes)
                await asyncio.sleep(0)

    async def stop(self, release=True):
        """End the operator in good order, or as if it were killed."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if release:
            await self.operator.stop()
        await self.client.close()
        del self._task

    async def pool(self, name="pool", **spec):
        """Put or change a pool."""
        manifest = await self.kube.put(builders.pool_manifest(name, **spec))
        if hasattr(self, "_task"):
            self.operator.put_pool(copy.deepcopy(manifest))

    async def model(self, name, **spec):
        """Put or change a Model."""
        await self.kube.put(builders.model_manifest(name, **spec))

    async def served(self, gateway, *models):
        """One after the other these models are asked for until they are ready."""
        for name in models:
            await gateway.ask(name)
            await self.phase(name, "Ready")
            await gateway.ask(name, 0)

    async def measured(self, name, **spec):
        """Start with one small model that is ready and was seen to execute in 50 ms."""
        await self.model(name, copies={"min": 1}, memory="10Mi", **spec)
        triton = await self.triton(**{name: FakeModel(execution_seconds=0.05)})
        await self.gateway()
        await self.start()
        await self.phase(name, "Ready")
        triton.models[name].executed = 10
        await self.kube.until(lambda _: self.status(name).get("executionSeconds") == 0.05)

    async def triton(self, name="t0", created=None, metered=False, counters=False, **models):
        """Put a running Triton pod on the stage; its models are in the repository. `counters`: it shows metrics."""
        server = await self._stack.enter_async_context(FakeTriton(models))
        ip = f"10.0.0.{len(self._addresses) + 1}"
        self._addresses[f"{ip}:{names.GRPC_PORT}"] = server.address
        if counters:
            shown = await self._stack.enter_async_context(FakeCounters(server.models))
            self._addresses[f"metrics of {ip}:{names.GRPC_PORT}"] = shown.address
            self.counters[name] = shown
        if metered:
            meter = await self._stack.enter_async_context(FakeMeter(name, TOKEN, server.models))
            self._addresses[f"{ip}:{names.METER_PORT}"] = meter.address
            self.meters[name] = meter
        self.tritons[name] = server
        manifest = pod_manifest(name, names.TRITON, "triton", ip)
        manifest["metadata"]["creationTimestamp"] = created or manifest["metadata"]["creationTimestamp"]
        await self.kube.put(manifest)
        return server

    async def gateway(self, name="g0", deaf=False):
        """Put a ready gateway pod on the stage."""
        gateway = await self._stack.enter_async_context(FakeGateway(deaf))
        ip = f"10.0.0.{len(self._addresses) + 1}"
        self._addresses[f"{ip}:{names.DEMAND_PORT}"] = gateway.address
        self.gateways[name] = gateway
        await self.kube.put(pod_manifest(name, names.GATEWAY, "activator", ip, ready=True))
        return gateway

    async def restart_container(self, name="t0"):
        """The Triton container of a pod restarts in place."""
        self.tritons[name].restart()

        def change(pod):
            (container,) = pod["status"]["containerStatuses"]
            container["containerID"] += "-again"

        await self.kube.edit("pods", name, change)

    def residency(self, name="t0"):
        """What the pod's annotation says, None without one."""
        pod = self.kube.find("pods", name)
        text = pod["metadata"].get("annotations", {}).get(names.RESIDENCY_ANNOTATION)
        return None if text is None else decode(text)

    def status(self, name, plural="models"):
        """The status of a Model or pool."""
        return (self.kube.find(plural, name) or {}).get("status", {})

    def condition(self, name, kind, plural="models"):
        """One condition as (status, reason, message), None where there is none."""
        listed = self.status(name, plural).get("conditions", [])
        return next(((c["status"], c["reason"], c["message"]) for c in listed if c["type"] == kind), None)

    def events(self, action, name=None):
        """Events of an action, as (reason, message)."""
        return [
            (event["reason"], event["message"])
            for event in self.kube.all("events")
            if event["action"] == action and name in (None, event["involvedObject"]["name"])
        ]

    async def phase(self, name, phase):
        """Wait until a Model's status has this phase."""
        await self.kube.until(lambda _: self.status(name).get("phase") == phase)

    async def routable(self, name, *models):
        """Wait until a pod's annotation lets exactly these models be routed to."""
        wanted = frozenset(models)
        await self.kube.until(lambda _: (r := self.residency(name)) is not None and r.routable == wanted)


def pod_manifest(name, component, container, ip, ready=False):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **builders.meta(name),
            "labels": {names.POOL_LABEL: "pool", names.COMPONENT_LABEL: component},
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": str(ready)},
            ],
            "containerStatuses": [
                {"name": container, "state": {"running": {}}, "containerID": f"containerd://{name}", "ready": True}
            ],
        },
    }


def _secret():
    data = {names.TRITON_ADMIN_KEY: KEY, names.DEMAND_TOKEN_KEY: TOKEN}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**builders.meta("pool-keys"), "ownerReferences": [builders.owner()]},
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in data.items()},
    }


__all__ = ["QUICK", "TOKEN", "FakeModel", "Stage"]
