"""The activator's HTTP side: what Envoy sends here of a pool's HTTP requests, answered with a status every time."""

import json
import logging
from http import HTTPStatus

import aiohttp
from aiohttp import web

from larder.errors import InvalidInputError, LarderError
from larder.gateway import protocol, refusals
from larder.gateway.dispatch import Dispatcher, Order
from larder.gateway.holding import REQUEST_OVERHEAD_BYTES
from larder.gateway.http_upstream import HttpUpstream, Request, Response, forwarded
from larder.gateway.pool_answers import PoolAnswers
from larder.gateway.protocol import ModelCall, Operation, PoolCall, PoolOperation, Refused, WrongMethod
from larder.gateway.reserve import Reservation
from larder.gateway.settings import Settings
from larder.gateway.state import State

log = logging.getLogger(__name__)
LARGEST_LINE_BYTES = 64 * 1024


class HttpSide:
    """Handles one request at a time each; the server gives it every path and method."""

    def __init__(
        self, settings: Settings, state: State, dispatcher: Dispatcher, pool: PoolAnswers, upstream: HttpUpstream
    ) -> None:
        self._settings = settings
        self._state = state
        self._dispatcher = dispatcher
        self._pool = pool
        self._upstream = upstream

    def runner(self) -> web.ServerRunner:
        """Return the server; a client that goes away cancels its handler at once."""
        server = web.Server(
            self.handle,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            max_line_size=LARGEST_LINE_BYTES,
            max_field_size=LARGEST_LINE_BYTES,
            keepalive_timeout=3600.0,
        )
        return web.ServerRunner(server)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        try:
            return await self._answer(request)
        except refusals.RefusalError as refusal:
            return _error(refusal)
        except InvalidInputError as error:
            return _error(refusals.malformed(str(error)))
        except (ConnectionError, aiohttp.ClientError):
            # The pod was lost in the middle of an answer, or the client while it got one: the connection ends.
            raise
        except (LarderError, TimeoutError, OSError) as error:
            log.warning("%s %s: %s", request.method, request.raw_path[:200], error)
            return _error(refusals.not_passed_on(error))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        match protocol.parse_http(request.method, request.raw_path):
            case ModelCall() as call:
                return await self._model(request, call)
            case PoolCall(operation):
                return await self._for_pool(request, operation)
            case Refused(message):
                raise refusals.forbidden(message)
            case WrongMethod(allowed):
                raise refusals.wrong_method(request.method, request.path, allowed)
            case _:
                raise refusals.unknown_call(request.path[:200])

    async def _model(self, request: web.BaseRequest, call: ModelCall) -> web.StreamResponse:
        arrived = self._state.now_seconds()
        self._dispatcher.check(call.model)
        if self._pool.model_ready(call):
            return _empty(200)
        if (seen := self._pool.last_seen(call)) is not None:
            return _answer(seen.http[call.operation])
        with Reservation(self._state.held, call.model) as reservation:
            body = await self._read(request, reservation)
            forward = self._request(request, call, body)
            order = Order(
                call.model,
                arrived,
                self._hold_until(arrived, call, request, body),
                repeatable=not (forward.stateful and call.operation.runs_the_model),
            )
            response = await self._dispatcher.send(
                order, lambda endpoint: self._upstream.attempt(endpoint, forward, call.model)
            )
            return await self._relay(request, response)

    async def _relay(self, request: web.BaseRequest, response: Response) -> web.StreamResponse:
        headers = response.headers
        headers[refusals.NOT_RETRIED_HEADER] = "true"
        if response.body is not None:
            return web.Response(status=response.status, headers=headers, body=response.body)
        answer = web.StreamResponse(status=response.status, headers=headers)
        answer.content_length = response.source.content_length
        try:
            await answer.prepare(request)
            await self._upstream.pour(response, answer.write)
            await answer.write_eof()
        finally:
            response.source.close()
        return answer

    def _request(self, request: web.BaseRequest, call: ModelCall, body: bytes) -> Request:
        return Request(
            request.method,
            request.raw_path,
            forwarded(request.headers),
            body,
            stateful=self._state.stateful(call.model),
            lookup=not call.operation.runs_the_model,
        )

    def _hold_until(self, arrived: float, call: ModelCall, request: web.BaseRequest, body: bytes) -> float:
        longest = self._settings.longest_hold_seconds
        compressed = request.headers.get("Content-Encoding", "identity") != "identity"
        if call.operation is not Operation.INFER or compressed:
            return arrived + longest
        timeout = protocol.http_timeout_seconds(body, _header_length(request))
        return arrived + (longest if timeout is None else min(longest, timeout))

    async def _read(self, request: web.BaseRequest, reservation: Reservation) -> bytes:
        limit = self._settings.body_limit_bytes
        length = request.content_length
        if length is not None and length > limit:
            raise refusals.too_large(limit)
        reservation.take(REQUEST_OVERHEAD_BYTES + (length or 0))
        chunks, size = [], 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > limit:
                raise refusals.too_large(limit)
            if length is None:
                reservation.take(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)

    async def _for_pool(self, request: web.BaseRequest, operation: PoolOperation) -> web.StreamResponse:
        match operation:
            case PoolOperation.LIVE:
                return _empty(200)
            case PoolOperation.READY:
                return _empty(200 if self._pool.ready else 400)
            case PoolOperation.METADATA:
                return _json(await self._pool.metadata())
            case PoolOperation.STATISTICS:
                return _json(await self._pool.statistics())
            case PoolOperation.INDEX:
                with Reservation(self._state.held) as reservation:
                    only_ready = _only_ready(await self._read(request, reservation))
                return _json(self._pool.index(only_ready=only_ready))


def _header_length(request: web.BaseRequest) -> int | None:
    text = request.headers.get("Inference-Header-Content-Length")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise InvalidInputError("Inference-Header-Content-Length", text[:40], "it must be a number of bytes")
    return int(text)


def _only_ready(body: bytes) -> bool:
    if not body.strip():
        return False
    if len(body) > protocol.LARGEST_PARSED_JSON_BYTES:
        raise refusals.malformed("the body of an index request is a small JSON object")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("request body", body[:40], f"it must be JSON: {error}") from error
    return isinstance(request, dict) and request.get("ready") is True


def _error(refusal: refusals.RefusalError) -> web.Response:
    return _json({"error": refusal.message}, refusal.status, refusal.headers)


def _json(body: object, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> web.Response:
    return _answer(json.dumps(body).encode(), status, headers)


def _answer(body: bytes, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> web.Response:
    marked = {refusals.NOT_RETRIED_HEADER: "true", **(headers or {})}
    return web.Response(body=body, content_type="application/json", status=status, headers=marked)


def _empty(status: int) -> web.Response:
    return web.Response(content_type="text/plain", status=status, headers={refusals.NOT_RETRIED_HEADER: "true"})
