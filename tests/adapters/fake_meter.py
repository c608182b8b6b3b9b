"""A meter over real HTTP that sees what the models of a fake Triton take, and what a test adds to that."""

import asyncio
import itertools
from dataclasses import dataclass, field

from aiohttp import web

from larder.api.metering import READ_PATH, STREAM_PATH, ContainerUse, Reading, encode
from tests.adapters.serving import on_loopback

MIB = 2**20
LOADED = ("READY", "UNLOADING")


@dataclass
class FakeMeter:
    """Says what it sees when it is asked, when a test says `moved`, and now and then."""

    container: str
    token: str
    models: dict
    server_mib: int = 0
    kills: int = 0
    gone: set = field(default_factory=set)
    address: str = ""
    every_seconds: float = 0.05

    async def __aenter__(self):
        self._numbers, self._moved = itertools.count(), asyncio.Event()
        app = web.Application()
        app.router.add_get(READ_PATH, self._read)
        app.router.add_get(STREAM_PATH, self._stream)
        await self.start(app)
        return self

    async def start(self, app):
        self._runner, self.address = await on_loopback(app)

    async def __aexit__(self, *exception):
        await self.stop()

    async def stop(self):
        """Be lost."""
        self._moved.set()
        await self._runner.cleanup()

    def kill(self, model):
        """The kernel ends the process of a model."""
        self.kills += 1
        self.gone.add(model)
        self._moved.set()

    def reading(self):
        there = {n: m for n, m in self.models.items() if m.state in LOADED and n not in self.gone}
        total = self.server_mib + sum(model.takes_mib for model in there.values())
        own = {name: model.takes_mib * MIB for name, model in there.items() if model.tells}
        use = ContainerUse(total * MIB, own)
        return Reading(next(self._numbers), 0.0, {self.container: use}, 0, self.kills)

    async def _read(self, request):
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        return web.Response(text=encode(self.reading()) + "\n")

    async def _stream(self, request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await answer.write(encode(self.reading()).encode() + b"\n")
            self._moved.clear()
            try:
                async with asyncio.timeout(self.every_seconds):
                    await self._moved.wait()
            except TimeoutError:
                continue
        return answer
