"""gRPC to Triton pods: one attempt of a raw message at one copy, and what its failure means."""

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import grpc
from grpc import aio
from tritonclient.grpc import service_pb2

from larder.api import names
from larder.errors import UnavailableError
from larder.gateway.dispatch import DEAD_STUB, QUEUE_FULL, Answered, Broken, Full, Outcome, Stale
from larder.gateway.protocol import GRPC_SERVICE
from larder.gateway.routes import Endpoint

ASK_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 1.0
GONE_SECONDS: Final = 30.0
"""Calls to a pod that is gone are given up on after that and made elsewhere: nobody may tell that they are lost."""
Metadata = Sequence[tuple[str, str | bytes]]
_OWN_METADATA: Final = frozenset({"user-agent", "te", "content-type", "x-request-id", "host"})
_OWN_PREFIXES: Final = ("grpc-", ":", "x-envoy-", "x-forwarded-")

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # The least that a gRPC server bears: a node that has gone is noticed within six minutes on a silent call.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
_NOT_SENT: Final = re.compile(r"failed to connect|connections to all backends failing|DNS resolution failed", re.I)
_LOST: Final = re.compile(
    r"socket closed|connection reset|broken pipe|recvmsg|sendmsg|goaway|rst_stream|stream removed|connection closed|"
    r"cancelling all calls|endpoint closing|transport closed|connection timed out|keepalive",
    re.I,
)
_GONE: Final = "connection closed: the pod is gone"
_STALE_CODES: Final = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE})
_STALE_LOOKUP_CODES: Final = _STALE_CODES | {grpc.StatusCode.INVALID_ARGUMENT}
"""How Triton says that a model is not there: to an inference, and to statistics."""


@dataclass(frozen=True, slots=True)
class Request:
    """A unary call as it is sent on. `method` is the bare name, `message` as it came."""

    method: str
    message: bytes
    metadata: Metadata
    stateful: bool = False
    answer_until_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """Triton's answer: a message, or an error status with `details`."""

    message: bytes | None
    code: grpc.StatusCode
    details: str
    initial_metadata: Metadata
    trailing_metadata: Metadata


class GrpcUpstream:
    """One channel to each pod's gRPC port."""

    def __init__(self, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        self._channels: dict[str, aio.Channel] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for ip in list(self._channels):
            self._close(ip, None)
        await asyncio.gather(*self._closing)

    def keep(self, ips: Collection[str]) -> None:
        """Close the channels to all other pods once their calls have ended, or a while after."""
        for ip in self._channels.keys() - set(ips):
            self._close(ip, GONE_SECONDS)

    def _close(self, ip: str, grace_seconds: float | None) -> None:
        task = asyncio.create_task(self._channels.pop(ip).close(grace_seconds))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def attempt(  # noqa: PLR0911 (a table of outcomes)
        self, endpoint: Endpoint, request: Request, model: str
    ) -> Outcome[Response]:
        """Send the message to one copy. What sounds stale of a model that is ready there is Triton's own answer."""
        if request.stateful and not await self._connected(endpoint.ip):
            return Broken(sent=False, message="no connection")
        response = await self._send(endpoint.ip, request)
        if response.code is grpc.StatusCode.UNAVAILABLE and _NOT_SENT.search(response.details):
            return Broken(sent=False, message=response.details)
        if response.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL) and _LOST.search(response.details):
            return Broken(sent=True, message=response.details, cut=response.details != _GONE)
        if response.code is grpc.StatusCode.UNAVAILABLE and QUEUE_FULL in response.details:
            return Full()
        if response.code is grpc.StatusCode.INTERNAL and DEAD_STUB.search(response.details):
            return Broken(sent=True, message=response.details, cut=True, dead=True)
        doubtful = _STALE_CODES if request.method == "ModelInfer" else _STALE_LOOKUP_CODES
        if response.code not in doubtful or await self.ready(endpoint.ip, model):
            return Answered(response)
        unavailable = response.code is grpc.StatusCode.UNAVAILABLE
        return Broken(sent=True, message=response.details) if unavailable else Stale()

    def stream(self, ip: str, method: str, metadata: Metadata) -> Any:
        """Return a call that is a stream of raw messages both ways."""
        # Without an iterator of requests, which the stubs require, the call is written to.
        open_stream: Any = self._channel(ip).stream_stream(f"/{GRPC_SERVICE}/{method}", None, None)
        return open_stream(metadata=aio.Metadata(*metadata))

    async def ready(self, ip: str, model: str) -> bool:
        """Whether the pod says that it serves the model."""
        try:
            answer = await self.ask(ip, "ModelReady", service_pb2.ModelReadyRequest(name=model).SerializeToString())
        except UnavailableError:
            return False
        return bool(service_pb2.ModelReadyResponse.FromString(answer).ready)

    async def ask(self, ip: str, method: str, message: bytes) -> bytes:
        """Ask a pod itself. Raises UnavailableError when it does not answer in time."""
        until = self._now_seconds() + ASK_SECONDS
        response = await self._send(ip, Request(method, message, (), answer_until_seconds=until))
        if response.message is None:
            raise UnavailableError(f"pod {ip} did not answer {method}: {response.details}")
        return response.message

    async def _connected(self, ip: str) -> bool:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._channel(ip).channel_ready()
        except TimeoutError:
            return False
        return True

    async def _send(self, ip: str, request: Request) -> Response:
        until = request.answer_until_seconds
        timeout = None if until is None else max(0.001, until - self._now_seconds())
        method = self._channel(ip).unary_unary(f"/{GRPC_SERVICE}/{request.method}", None, None)
        call = method(request.message, timeout=timeout, metadata=aio.Metadata(*request.metadata))
        try:
            message = await call
        except aio.AioRpcError as error:
            return Response(
                None,
                error.code(),
                error.details() or "",
                pairs(error.initial_metadata()),
                pairs(error.trailing_metadata()),
            )
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            return Response(None, grpc.StatusCode.UNAVAILABLE, _GONE, (), ())
        initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
        return Response(message, grpc.StatusCode.OK, "", pairs(initial), pairs(trailing))

    def _channel(self, ip: str) -> aio.Channel:
        if ip not in self._channels:
            host = f"[{ip}]" if ":" in ip else ip
            self._channels[ip] = aio.insecure_channel(f"{host}:{names.GRPC_PORT}", options=_OPTIONS)
        return self._channels[ip]


def is_cancelled() -> bool:
    """Whether the running task is cancelled. A channel that is closed cancels its calls, not who waits for them."""
    return (task := asyncio.current_task()) is None or bool(task.cancelling())


def is_lost(error: aio.AioRpcError) -> bool:
    """Whether a call ended because its pod went away."""
    broken = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
    return broken and _LOST.search(error.details() or "") is not None


def passed_on(metadata: Iterable[tuple[str, str | bytes]]) -> Metadata:
    """Return the metadata that goes through a proxy."""
    return tuple(
        (key, value) for key, value in metadata if key not in _OWN_METADATA and not key.startswith(_OWN_PREFIXES)
    )


def pairs(metadata: Iterable[Any] | None) -> Metadata:
    """Return metadata as gRPC gave it, as pairs."""
    return tuple((key, value) for key, value in metadata or ())
