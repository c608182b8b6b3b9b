"""Probes of the operator's pod: alive while its event loop turns, ready once all lists are read."""

from typing import Protocol

from aiohttp import web


class Subject(Protocol):
    """What the probes ask."""

    synced: bool


class Probes:
    """/healthz and /readyz. Every replica is ready, leading or not: each can take over."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        app = web.Application()
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        self._runner = web.AppRunner(app, access_log=None)
        self.port = 0

    async def start(self, port: int) -> None:
        """Serve on this port of every address."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "0.0.0.0", port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Serve no more."""
        await self._runner.cleanup()

    async def _alive(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _: web.Request) -> web.Response:
        if self._subject.synced:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the first lists are not complete\n")
