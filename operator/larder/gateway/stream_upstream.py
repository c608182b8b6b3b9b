"""One ModelStreamInfer call to one pod: raw messages in, raw answers out, and how it ended."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from larder.gateway.grpc_upstream import Metadata, is_cancelled, is_lost, pairs

_ENDED = (aio.AioRpcError, aio.UsageError, asyncio.InvalidStateError)


@dataclass(frozen=True, slots=True)
class End:
    """How a pod ended a stream. `lost`: it went away."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: Metadata = ()
    lost: bool = False


_GONE = End(grpc.StatusCode.UNAVAILABLE, "connection closed: the pod is gone", lost=True)


class UpstreamStream:
    """An open stream; whoever holds it reads `answers` to its end, or cancels it."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.end: End | None = None

    async def write(self, body: bytes) -> bool:
        """Send a message; False where the stream has ended, and `answers` tells how."""
        try:
            await self._call.write(body)
        except _ENDED:
            return False
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            return False
        return True

    async def half_close(self) -> None:
        """Say that no message follows."""
        try:
            await self._call.done_writing()
        except _ENDED:
            return
        except asyncio.CancelledError:
            if is_cancelled():
                raise

    async def answers(self) -> AsyncIterator[bytes]:
        """Yield answers until the pod ends the stream; then `end` is set."""
        try:
            async for body in self._call:
                yield body
            self.end = End(await self._call.code(), await self._call.details() or "")
        except aio.AioRpcError as error:
            self.end = End(error.code(), error.details() or "", pairs(error.trailing_metadata()), is_lost(error))
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            self.end = _GONE

    def cancel(self) -> None:
        """End it at once; what runs is cancelled."""
        self._call.cancel()
