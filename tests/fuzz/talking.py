"""One payload, and how the conversation ended: a status, `closed`, or `stuck`."""

import asyncio
import contextlib
import re
from typing import Final

import grpc

from tests.fuzz.corpus import Payload, Raw, Rpc

QUIET_SECONDS: Final = 0.2
"""After so long without an answer the client says that nothing follows."""
STUCK_SECONDS: Final = 10.0
CLOSED, STUCK = "closed", "stuck"
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.I)
_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


class Talker:
    """Talks to one gateway: `ports` are addresses by the names that payloads use."""

    def __init__(self, ports: dict[str, tuple[str, int]]) -> None:
        self._ports = ports
        host, port = ports["grpc"]
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}", options=_OPTIONS)

    async def close(self) -> None:
        """End its connection."""
        await self._channel.close()

    async def say(self, payload: Payload) -> str:
        """Return how it ended."""
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                return await (self._raw(payload) if isinstance(payload, Raw) else self._rpc(payload))
        except TimeoutError:
            return STUCK

    async def _raw(self, payload: Raw) -> str:
        reader, writer = await asyncio.open_connection(*self._ports[payload.port])
        try:
            with contextlib.suppress(ConnectionError):
                for piece in payload.pieces:
                    writer.write(piece)
                    await writer.drain()
            return await _answer(reader, writer)
        finally:
            writer.transport.abort()

    async def _rpc(self, payload: Rpc) -> str:
        path = f"/inference.GRPCInferenceService/{payload.method}"
        try:
            if payload.method == "ModelStreamInfer":
                await self._stream(path, payload.messages)
            else:
                await self._channel.unary_unary(path, None, None)(payload.messages[0], timeout=STUCK_SECONDS)
        except grpc.aio.AioRpcError as error:
            return _code(error)
        return "grpc OK"

    async def _stream(self, path: str, messages: tuple[bytes, ...]) -> None:
        call = self._channel.stream_stream(path, None, None)(timeout=STUCK_SECONDS)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for message in messages:
                await call.write(message)
            await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass


def _code(error: grpc.aio.AioRpcError) -> str:
    """A pod of grpcio says otherwise than Triton that it can't parse a message."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return STUCK
    unparsed = error.code() is grpc.StatusCode.UNKNOWN and "DecodeError" in (error.details() or "")
    return f"grpc {'INTERNAL' if unparsed else error.code().name}"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    found = b""
    with contextlib.suppress(ConnectionError):
        while not _complete(found):
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    piece = await reader.read(65536)
            except TimeoutError:
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    writer.write_eof()
                piece = await reader.read(65536)
            if not piece:
                break
            found = (found + piece)[:4_000_000]
    status = _STATUS.match(found.removeprefix(_CONTINUE))
    return f"http {status[1].decode()}" if status else CLOSED


def _complete(found: bytes) -> bool:
    found = found.removeprefix(_CONTINUE)
    head, end, body = found.partition(b"\r\n\r\n")
    if not end or not head.startswith(b"HTTP/1"):
        return False
    length = LENGTH.search(head + b"\r\n")
    return length is not None and len(body) >= int(length[1])
