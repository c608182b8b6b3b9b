"""The activator's small HTTP endpoints: probes, the hook that Envoy's end waits for, and the metrics of both."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from larder.errors import UnavailableError
from larder.gateway.envoy_admin import EnvoyAdmin
from larder.gateway.metrics import Metrics
from larder.gateway.state import State
from larder.gateway.tallies import Tallies, render

END_SECONDS: Final = 2.0
"""For requests that are being answered when all ends; Envoy's preStop is among them."""


class Probes:
    """Ready once both lists are read and Envoy takes requests; not any more once the end is announced."""

    def __init__(self, state: State, drained: asyncio.Event) -> None:
        self._state = state
        self._is_live: Callable[[], Awaitable[bool]] | None = None
        self._drained = drained

    def ask(self, is_live: Callable[[], Awaitable[bool]]) -> None:
        """From now on whether Envoy takes requests is asked here."""
        self._is_live = is_live

    def runner(self) -> web.AppRunner:
        """Return the server of /healthz, /readyz and /drained."""
        app = web.Application()
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/drained", self._wait_drained)
        return web.AppRunner(app, access_log=None, shutdown_timeout=END_SECONDS)

    async def missing(self) -> str | None:
        """Return what readiness waits for, None when ready."""
        if self._state.draining:
            return "the gateway is going away"
        if self._state.pods is None:
            return "the list of pods is not complete"
        if self._state.models is None:
            return "the list of Models is not complete"
        if self._is_live is None or not await self._is_live():
            return "Envoy does not take requests"
        return None

    async def _alive(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        missing = await self.missing()
        return web.Response(text=f"{missing or 'ok'}\n", status=200 if missing is None else 503)

    async def _wait_drained(self, request: web.Request) -> web.Response:
        await self._drained.wait()
        return web.Response(text="ok\n")


class MetricsPage:
    """One page with the metrics of Models, of the activator and of Envoy; without Envoy, without its."""

    def __init__(self, state: State, metrics: Metrics, tallies: Tallies, admin: EnvoyAdmin) -> None:
        self._state = state
        self._tallies = tallies
        self._metrics = metrics
        self._admin = admin

    def runner(self) -> web.AppRunner:
        """Return the server of /metrics."""
        app = web.Application()
        app.router.add_get("/metrics", self._show)
        return web.AppRunner(app, access_log=None, shutdown_timeout=END_SECONDS)

    async def _show(self, request: web.Request) -> web.Response:
        self._metrics.show_waiting(self._state.room.counts())
        self._metrics.held_bytes.set(self._state.held.bytes)
        own, others = self._metrics.render().decode(), ""
        with contextlib.suppress(UnavailableError):
            others = await self._admin.metrics()
        models = await asyncio.to_thread(render, self._tallies.totals())
        return web.Response(
            text=models + own + others, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )
