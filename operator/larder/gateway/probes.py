"""The activator's small HTTP endpoints: probes, the hook that Envoy's end waits for, and the metrics of both."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from aiohttp import web

from larder.errors import UnavailableError
from larder.gateway.envoy_admin import EnvoyAdmin, without_undeclared
from larder.gateway.metrics import Metrics
from larder.gateway.state import State

END_SECONDS: Final = 2.0
"""For requests that are being answered when all ends; Envoy's preStop is among them."""


class Probes:
    """Ready once both lists are read and Envoy routes by them; not any more once the end is announced."""

    def __init__(self, state: State, configured: Callable[[], bool], drained: asyncio.Event) -> None:
        self._state = state
        self._configured = configured
        self._drained = drained

    def runner(self) -> web.AppRunner:
        """Return the server of /healthz, /readyz and /drained."""
        app = web.Application()
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/drained", self._wait_drained)
        return web.AppRunner(app, access_log=None, shutdown_timeout=END_SECONDS)

    def missing(self) -> str | None:
        """Return what readiness waits for, None when ready."""
        if self._state.draining:
            return "the gateway is going away"
        if self._state.pods is None:
            return "the list of pods is not complete"
        if self._state.models is None:
            return "the list of Models is not complete"
        if not self._configured():
            return "Envoy has not acknowledged its endpoints"
        return None

    async def _alive(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        missing = self.missing()
        return web.Response(text=f"{missing or 'ok'}\n", status=200 if missing is None else 503)

    async def _wait_drained(self, request: web.Request) -> web.Response:
        await self._drained.wait()
        return web.Response(text="ok\n")


class MetricsPage:
    """One page with the activator's metrics and Envoy's; without Envoy, the activator's alone."""

    def __init__(self, state: State, metrics: Metrics, admin: EnvoyAdmin) -> None:
        self._state = state
        self._metrics = metrics
        self._admin = admin

    def runner(self) -> web.AppRunner:
        """Return the server of /metrics."""
        app = web.Application()
        app.router.add_get("/metrics", self._show)
        return web.AppRunner(app, access_log=None, shutdown_timeout=END_SECONDS)

    async def _show(self, request: web.Request) -> web.Response:
        self._metrics.show_waiting(self._state.room.counts())
        self._metrics.held_bytes.set(self._state.bytes.held)
        own, others = self._metrics.render().decode(), ""
        with contextlib.suppress(UnavailableError):
            others = without_undeclared(await self._admin.metrics(), (self._state.models or {}).keys())
        return web.Response(text=own + others, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
