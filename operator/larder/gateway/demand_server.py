"""The demand stream's server: every connected operator is told what waits, what Envoy has seen, and request counts."""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Callable
from typing import Final

import aiohttp
from aiohttp import web

from larder.api.demand import (
    PATH,
    Counts,
    Dead,
    Failure,
    Hint,
    Message,
    Prediction,
    Seen,
    decode_message,
    encode_message,
)
from larder.errors import InvalidInputError
from larder.gateway.metrics import Metrics
from larder.gateway.state import Pulse, State

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 5.0
END_SECONDS: Final = 1.0
LARGEST_MESSAGE_BYTES: Final = 4 * 1024 * 1024
_QUEUED_MESSAGES: Final = 10


class DemandServer:
    """Serves PATH to whoever has the token."""

    def __init__(self, state: State, metrics: Metrics, token: str) -> None:
        self._state = state
        self._metrics = metrics
        self._token = token.encode()
        self._queues: set[asyncio.Queue[Message]] = set()
        state.report = self.publish

    def runner(self) -> web.AppRunner:
        """Return the server."""
        app = web.Application()
        app.router.add_get(PATH, self._serve)
        return web.AppRunner(app, access_log=None, shutdown_timeout=END_SECONDS)

    def publish(self, message: Counts | Dead) -> None:
        """Tell all operators; one that reads too slowly misses some."""
        for queue in self._queues:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(message)

    def _allowed(self, request: web.Request) -> bool:
        offered = request.headers.get("Authorization", "").encode()
        return bool(self._token) and hmac.compare_digest(offered, b"Bearer " + self._token)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if not self._allowed(request):
            return web.json_response({"error": "the demand stream needs the pool's token"}, status=401)
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_SECONDS, max_msg_size=LARGEST_MESSAGE_BYTES)
        await socket.prepare(request)
        self._metrics.streams.inc()
        try:
            await self._converse(socket)
        finally:
            self._metrics.streams.dec()
        return socket

    async def _converse(self, socket: web.WebSocketResponse) -> None:
        queue: asyncio.Queue[Message] = asyncio.Queue(_QUEUED_MESSAGES)
        self._queues.add(queue)
        senders = [
            asyncio.create_task(self._tell(socket, self._state.demand, self._state.waiting)),
            asyncio.create_task(self._tell(socket, self._state.seen, lambda: Seen(self._state.acknowledged))),
            asyncio.create_task(_forward(socket, queue)),
        ]
        try:
            async for frame in socket:
                self._take(frame)
        finally:
            self._queues.discard(queue)
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)

    async def _tell(self, socket: web.WebSocketResponse, pulse: Pulse, read: Callable[[], Message]) -> None:
        """Send the present once, then again after every change, as fast as the operator takes it."""
        count = pulse.count
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            while True:
                await socket.send_str(encode_message(read()))
                count = await pulse.after(count)

    def _take(self, frame: aiohttp.WSMessage) -> None:
        if frame.type is not aiohttp.WSMsgType.TEXT:
            return
        try:
            message = decode_message(frame.data)
        except InvalidInputError as error:
            log.warning("demand stream: %s", error)
            return
        if isinstance(message, Hint):
            self._state.offer(message)
        elif isinstance(message, Failure):
            self._state.fail(message)
        elif isinstance(message, Prediction):
            self._state.predict(message)


async def _forward(socket: web.WebSocketResponse, queue: asyncio.Queue[Message]) -> None:
    with contextlib.suppress(ConnectionError, aiohttp.ClientError):
        while True:
            await socket.send_str(encode_message(await queue.get()))
