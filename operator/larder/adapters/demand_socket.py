"""The operator's end of one demand stream: a WebSocket to one gateway pod. Errors of aiohttp stop here."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from larder.api.demand import PATH, Message, decode_message, encode_message
from larder.errors import UnavailableError

CONNECT_SECONDS: Final = 3.0
HEARTBEAT_SECONDS: Final = 5.0
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024


class DemandSocket:
    """One open stream."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, message: Message) -> None:
        """Send one message. Raises UnavailableError when the stream has ended."""
        try:
            await self._socket.send_str(encode_message(message))
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise UnavailableError(f"the demand stream has ended: {error}") from error

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what the gateway says until the stream ends. Raises InvalidInputError for what is no message."""
        async for frame in self._socket:
            if frame.type is aiohttp.WSMsgType.TEXT:
                yield decode_message(frame.data)


@asynccontextmanager
async def open_socket(address: str, token: str) -> AsyncIterator[DemandSocket]:
    """Connect to `host:port`. Raises UnavailableError where that does not succeed in time."""
    bound = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(timeout=bound) as session:
        try:
            # A gateway that hangs takes the connection and never answers on it.
            async with asyncio.timeout(CONNECT_SECONDS):
                socket = await session.ws_connect(
                    f"http://{address}{PATH}",
                    headers=headers,
                    heartbeat=HEARTBEAT_SECONDS,
                    max_msg_size=MAX_MESSAGE_BYTES,
                )
        except (aiohttp.ClientError, OSError, TimeoutError, json.JSONDecodeError) as error:
            raise UnavailableError(f"the gateway at {address} does not take the demand stream: {error}") from error
        try:
            yield DemandSocket(socket)
        finally:
            await socket.close()
