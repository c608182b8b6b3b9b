"""HTTP to Triton pods: one attempt of a request at one copy, and what its failure means."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import aiohttp
from aiohttp.connector import AddrInfoType
from multidict import CIMultiDict
from yarl import URL

from larder.api import names
from larder.errors import UnavailableError
from larder.gateway.dispatch import DEAD_STUB, QUEUE_FULL, Answered, Broken, Full, Outcome, Stale
from larder.gateway.grpc_upstream import GONE_SECONDS
from larder.gateway.routes import Endpoint
from larder.gateway.settings import POD_IDLE_SECONDS

CONNECT_SECONDS: Final = 1.0
ASK_SECONDS: Final = 5.0
BUFFERED_BYTES: Final = 1024 * 1024
"""Answers up to this are read whole within the attempt, so that a pod lost in between is still retried."""
LONGEST_SENTENCE_BYTES: Final = 512
_KEEPALIVE: Final = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 5}
_STALE_STATUSES: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE})
_STALE_LOOKUP_STATUSES: Final = _STALE_STATUSES | {HTTPStatus.BAD_REQUEST}
"""How Triton says that a model is not there: to an inference, and to readiness and statistics."""
_NOT_FORWARDED: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host", "expect"}
    | {"content-length"}
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is sent on: `target` is path and query, percent-encoded as they came.

    `lookup`: it asks about the model and does not run it.
    """

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes
    stateful: bool = False
    lookup: bool = False
    answer_until_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer whose head is read. `body` is None where the rest is still to be streamed from `source`."""

    status: int
    headers: CIMultiDict[str]
    body: bytes | None
    source: aiohttp.ClientResponse
    ip: str


def forwarded(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the headers that go through a proxy."""
    kept = [(name, value) for name, value in headers.items() if name.lower() not in _NOT_FORWARDED]
    return CIMultiDict(item for item in kept if not item[0].lower().startswith(("x-envoy-", "x-forwarded-")))


class HttpUpstream:
    """Connections to the pods' HTTP ports. Stateful models get a fresh one each: a pooled one may be closing."""

    def __init__(self, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        self._pooled = _session(force_close=False)
        self._fresh = _session(force_close=True)
        self._attempts: dict[str, set[asyncio.Timeout]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pooled.close()
        await self._fresh.close()

    def keep(self, ips: Collection[str]) -> None:
        """Give up on attempts at all other pods after a while: nobody may tell that they are lost."""
        until = asyncio.get_running_loop().time() + GONE_SECONDS
        for ip in self._attempts.keys() - set(ips):
            for bound in self._attempts[ip]:
                if bound.when() is None:
                    bound.reschedule(until)

    @contextmanager
    def _bounded(self, ip: str) -> Iterator[asyncio.Timeout]:
        """A timeout without an end until `keep` sets one."""
        bounds, bound = self._attempts.setdefault(ip, set()), asyncio.timeout(None)
        bounds.add(bound)
        try:
            yield bound
        finally:
            bounds.discard(bound)
            if not bounds and self._attempts.get(ip) is bounds:
                del self._attempts[ip]

    async def attempt(  # noqa: PLR0911 (a table of outcomes)
        self, endpoint: Endpoint, request: Request, model: str
    ) -> Outcome[Response]:
        """Send the request to one copy. What sounds stale of a model that is ready there is Triton's own answer."""
        try:
            with self._bounded(endpoint.ip) as bound:
                async with bound:
                    response = await self._send(endpoint.ip, request)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Broken(sent=False, message=str(error))
        except (aiohttp.ClientError, ConnectionError) as error:
            return Broken(sent=True, message=str(error) or type(error).__name__, cut=True)
        except TimeoutError:
            return Broken(sent=True, message="connection closed: the pod is gone")
        if response.status == HTTPStatus.SERVICE_UNAVAILABLE and QUEUE_FULL.encode() in (response.body or b""):
            return Full()
        if response.status == HTTPStatus.INTERNAL_SERVER_ERROR and DEAD_STUB.search(_start(response)):
            return Broken(sent=True, message=_start(response), cut=True, dead=True)
        doubtful = _STALE_LOOKUP_STATUSES if request.lookup else _STALE_STATUSES
        if response.status not in doubtful or await self._ready(endpoint.ip, model):
            return Answered(response)
        response.source.close()
        unavailable = response.status == HTTPStatus.SERVICE_UNAVAILABLE
        return Broken(sent=True, message="503") if unavailable else Stale()

    async def pour(self, response: Response, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write the rest of an answer as it comes. A pod that is gone is a lost connection here too."""
        try:
            with self._bounded(response.ip) as bound:
                async with bound:
                    async for chunk in response.source.content.iter_any():
                        await write(chunk)
        except TimeoutError as error:
            raise ConnectionResetError("the pod is gone") from error

    async def ask(self, ip: str, method: str, target: str) -> tuple[int, bytes]:
        """Ask a pod itself. Raises UnavailableError when it does not answer in time."""
        timeout = aiohttp.ClientTimeout(total=ASK_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            async with self._pooled.request(method, _url(ip, target), timeout=timeout) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise UnavailableError(f"pod {ip} did not answer {target}: {error}") from error

    async def _ready(self, ip: str, model: str) -> bool:
        target = f"/v2/models/{quote(model, safe='')}/ready"
        try:
            return (await self.ask(ip, "GET", target))[0] == 200
        except UnavailableError:
            return False

    async def _send(self, ip: str, request: Request) -> Response:
        session = self._fresh if request.stateful else self._pooled
        until = request.answer_until_seconds
        total = None if until is None else max(0.001, until - self._now_seconds())
        response = await session.request(
            request.method,
            _url(ip, request.target),
            data=request.body or None,
            headers=request.headers,
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_SECONDS),
            allow_redirects=False,
        )
        small = response.content_length is not None and response.content_length <= BUFFERED_BYTES
        body = await response.read() if small else None
        return Response(response.status, forwarded(response.headers), body, response, ip)


def _start(response: Response) -> str:
    return (response.body or b"")[:LONGEST_SENTENCE_BYTES].decode(errors="replace")


def _session(*, force_close: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,
            ttl_dns_cache=None,
            socket_factory=_socket_that_notices,
            **({"force_close": True} if force_close else {"keepalive_timeout": POD_IDLE_SECONDS}),
        ),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        read_bufsize=BUFFERED_BYTES,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _socket_that_notices(address: AddrInfoType) -> socket.socket:
    """A socket that fails within a minute when its other side's node has gone, though nothing is sent on it."""
    family, kind, protocol, _, _ = address
    found = socket.socket(family, kind, protocol)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        found.setsockopt(socket.IPPROTO_TCP, option, value)
    return found


def _url(ip: str, target: str) -> URL:
    host = f"[{ip}]" if ":" in ip else ip
    return URL(f"http://{host}:{names.HTTP_PORT}{target}", encoded=True)
