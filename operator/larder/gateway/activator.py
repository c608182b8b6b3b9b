"""The activator: everything of a gateway pod that is not Envoy, started, run and ended together.

The end: SIGTERM makes it not ready, Envoy's answers close their connections from then on, and when nothing is held
or in flight any more, or the longest hold is over, `/drained` answers (Envoy's preStop waits for it) and all stops.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from aiohttp import web
from grpc import aio

from larder.adapters.kube.client import connect
from larder.adapters.kube.informer import Source
from larder.api.demand import Counts, ModelCount
from larder.errors import UnavailableError
from larder.gateway import bad_requests
from larder.gateway.board import Board
from larder.gateway.demand_server import DemandServer
from larder.gateway.dispatch import Dispatcher
from larder.gateway.envoy_admin import EnvoyAdmin
from larder.gateway.grpc_side import GrpcSide, server_options
from larder.gateway.grpc_upstream import GrpcUpstream
from larder.gateway.holding import Held
from larder.gateway.http_side import HttpSide
from larder.gateway.http_upstream import HttpUpstream
from larder.gateway.lanes import Upstreams
from larder.gateway.last_seen import LastSeen
from larder.gateway.metrics import Metrics
from larder.gateway.pool_answers import PoolAnswers
from larder.gateway.probes import MetricsPage, Probes
from larder.gateway.settings import TERMINATION_MARGIN_SECONDS, Settings
from larder.gateway.state import State
from larder.gateway.streams import Streams
from larder.gateway.tallies import Tallies
from larder.gateway.watching import Watching

log = logging.getLogger(__name__)

COUNT_INTERVAL_SECONDS: Final = 1.0
LINGER_SECONDS: Final = 3.0
"""After SIGTERM new connections still come until the Service's rules have followed everywhere."""
DRAIN_POLL_SECONDS: Final = 0.2
END_SECONDS: Final = 5.0


class Activator:
    """One gateway pod's activator on one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.state = State(Held(settings.held_bytes, settings.held_requests))
        self.metrics = Metrics(self.state.declared_names)
        self._dispatcher = Dispatcher(self.state, self.metrics)
        self._demand = DemandServer(self.state, self.metrics, settings.demand_token)
        self._board, self._tallies = Board(settings.run_dir), Tallies(settings.run_dir)
        self._drained = asyncio.Event()
        self._probes = Probes(self.state, self._drained)

    async def run(self, source: Source, stop: asyncio.Event) -> None:
        """Serve until `stop` is set and what is held has been answered."""
        bad_requests.keep_out_of_the_log()
        self._settings.run_dir.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(HttpUpstream(self.state.now_seconds))
            calls = await stack.enter_async_context(GrpcUpstream(self.state.now_seconds))
            admin = await stack.enter_async_context(EnvoyAdmin(self._settings.admin_socket))
            self.last_seen = LastSeen(self.state, http, calls)
            streams = await self._serve_clients(stack, PoolAnswers(self.state, http, self.last_seen), http, calls)
            await self._serve_pod(stack, admin)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(Watching(self._settings, self.state, source).run()),
                    group.create_task(self._publish()),
                    group.create_task(self._count()),
                    group.create_task(self._tidy(http, calls)),
                    group.create_task(self.last_seen.run()),
                ]
                await stop.wait()
                await self._drain(admin, streams)
                for task in tasks:
                    task.cancel()

    async def _serve_clients(
        self, stack: AsyncExitStack, pool: PoolAnswers, http: HttpUpstream, calls: GrpcUpstream
    ) -> Streams:
        http_side = HttpSide(self._settings, self.state, self._dispatcher, pool, http)
        await stack.enter_async_context(_on_socket(http_side.runner(), self._settings.http_socket))
        streams = Streams(self._settings, Upstreams(self.state, self._dispatcher, calls), self.metrics)
        grpc_side = GrpcSide(self._settings, self.state, self._dispatcher, pool, calls)
        server = aio.server(options=server_options(self._settings))
        server.add_generic_rpc_handlers((streams, grpc_side))
        await stack.enter_async_context(_grpc_server(server, self._settings.grpc_socket))
        return streams

    async def _serve_pod(self, stack: AsyncExitStack, admin: EnvoyAdmin) -> None:
        ports, address = self._settings.ports, self._settings.bind_address
        page = MetricsPage(self.state, self.metrics, self._tallies, admin)
        self._probes.ask(admin.is_live)
        for runner, port in (
            (self._demand.runner(), ports.demand),
            (self._probes.runner(), ports.probe),
            (page.runner(), ports.metrics),
        ):
            await stack.enter_async_context(_on_port(runner, address, port))

    async def _publish(self) -> None:
        """Keep the routing board in step. Not before both lists are read: Envoy routes by the last board till then."""
        count, owned = -1, -1
        try:
            while True:
                count = await self.state.routed.after(count)
                if self.state.complete:
                    self.metrics.lines.inc(self._board.update(self.state.take_changes(), self.state.now_seconds()))
                    if owned != self._board.slots.changes:
                        owned = self._board.slots.changes
                        self._tallies.own(self._board.slots.numbers)
                    self.state.acknowledge(self.state.table.versions)
        finally:
            self._board.close()

    async def _count(self) -> None:
        """Tell the operators once a second what was asked of each model, hot and cold, and what met its objective.

        Also that nothing was: who is silent is not idle, but unknown.
        """
        at = self.state.now_seconds()
        while True:
            await asyncio.sleep(COUNT_INTERVAL_SECONDS)
            before, at = at, self.state.now_seconds()
            grown = self._tallies.growth()
            for model, count in self.metrics.take_streamed().items():
                known = grown.get(model, ModelCount(0))
                grown[model] = replace(known, requests=known.requests + count)
            self._demand.publish(Counts(at - before, grown))

    async def _tidy(self, http: HttpUpstream, calls: GrpcUpstream) -> None:
        while True:
            await asyncio.sleep(COUNT_INTERVAL_SECONDS)
            self.state.tidy()
            self._dispatcher.prune()
            ips = [pod.ip for pod in (self.state.pods or {}).values() if pod.ip]
            calls.keep(ips)
            self._board.keep(ips, self.state.now_seconds())
            http.keep(ips)

    async def _drain(self, admin: EnvoyAdmin, streams: Streams) -> None:
        log.info("going away: finishing what is held")
        self.state.draining = True
        longest = self._settings.longest_hold_seconds + TERMINATION_MARGIN_SECONDS - 2 * END_SECONDS
        with contextlib.suppress(UnavailableError):
            await admin.announce_end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await asyncio.sleep(LINGER_SECONDS)
                streams.drain()
                await _until(lambda: self._idle(admin))
        self._drained.set()

    async def _idle(self, admin: EnvoyAdmin) -> bool:
        try:
            return await admin.active_requests() == 0
        except UnavailableError:
            return self.state.held.requests == 0


async def _until(idle: Callable[[], Awaitable[bool]]) -> None:
    while not await idle():  # noqa: ASYNC110 (Envoy's requests in flight are read, not told)
        await asyncio.sleep(DRAIN_POLL_SECONDS)


@asynccontextmanager
async def _on_socket(runner: web.ServerRunner, path: Path) -> AsyncIterator[None]:
    await asyncio.to_thread(path.unlink, missing_ok=True)
    async with _running(runner):
        await web.UnixSite(runner, str(path), backlog=4096).start()
        yield


@asynccontextmanager
async def _on_port(runner: web.AppRunner, address: str, port: int) -> AsyncIterator[None]:
    async with _running(runner):
        await web.TCPSite(runner, address, port).start()
        yield


@asynccontextmanager
async def _running(runner: web.ServerRunner | web.AppRunner) -> AsyncIterator[None]:
    await runner.setup()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _grpc_server(server: aio.Server, path: Path) -> AsyncIterator[None]:
    await asyncio.to_thread(path.unlink, missing_ok=True)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(grace=1.0)


async def run(settings: Settings) -> None:
    """Run the activator of this pod until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    client = await connect()
    try:
        await Activator(settings).run(client, stop)
    finally:
        await client.close()
