"""The activator's gRPC side: what Envoy sends here of a pool's calls, passed on as raw bytes."""

import json
import logging

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from larder.errors import InvalidInputError, LarderError
from larder.gateway import protocol, refusals
from larder.gateway.dispatch import Dispatcher, Order
from larder.gateway.grpc_server import Context, Handler
from larder.gateway.grpc_upstream import GrpcUpstream, Request, Response, passed_on
from larder.gateway.holding import REQUEST_OVERHEAD_BYTES
from larder.gateway.pool_answers import PoolAnswers
from larder.gateway.protocol import ModelCall, Operation, PoolCall, PoolOperation, Refused
from larder.gateway.reserve import Reservation
from larder.gateway.settings import Settings
from larder.gateway.state import State

log = logging.getLogger(__name__)


class GrpcSide(Handler):
    """Answers every unary method of Triton's service; others are UNIMPLEMENTED."""

    def __init__(
        self, settings: Settings, state: State, dispatcher: Dispatcher, pool: PoolAnswers, upstream: GrpcUpstream
    ) -> None:
        self._settings = settings
        self._state = state
        self._dispatcher = dispatcher
        self._pool = pool
        self._upstream = upstream

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Return the handler of a method: bytes in, bytes out."""
        service, _, method = handler_call_details.method.lstrip("/").partition("/")

        async def handle(message: bytes, context: Context) -> bytes:
            known = method if service == protocol.GRPC_SERVICE else f"{service}/{method}"
            return await self._handle(known, message, context)

        return grpc.unary_unary_rpc_method_handler(handle)

    async def _handle(self, method: str, message: bytes, context: Context) -> bytes:
        try:
            return await self._answer(method, message, context)
        except refusals.RefusalError as refusal:
            failure = refusal
        except (InvalidInputError, DecodeError) as error:
            failure = refusals.malformed(str(error))
        except (LarderError, TimeoutError, OSError) as error:
            log.warning("%s: %s", method, error)
            failure = refusals.not_passed_on(error)
        return await context.abort(failure.code, failure.message, tuple(failure.headers.items()))

    async def _answer(self, method: str, message: bytes, context: Context) -> bytes:
        match protocol.parse_grpc(method, message):
            case ModelCall() as call:
                return await self._model(method, call, message, context)
            case PoolCall(operation):
                return await self._for_pool(operation, message)
            case Refused(sentence):
                raise refusals.forbidden(sentence)
            case _:
                raise refusals.unknown_call(method[:200])

    async def _model(self, method: str, call: ModelCall, message: bytes, context: Context) -> bytes:
        arrived = self._state.now_seconds()
        if self._state.declared(call.model) is False:
            if call.operation is Operation.READY:
                return _ready(False)
            raise refusals.unknown_model(call.model)
        if (ready := self._pool.model_ready(call)) is not None:
            return _ready(ready)
        if (seen := self._pool.last_seen(call)) is not None:
            return seen.grpc[call.operation]
        remaining = context.time_remaining()
        request = Request(
            method,
            message,
            passed_on(context.invocation_metadata() or ()),
            stateful=self._state.stateful(call.model),
            answer_until_seconds=None if remaining is None else arrived + remaining,
        )
        repeatable = not (request.stateful and call.operation.runs_the_model)
        with Reservation(self._state.held, call.model) as reservation:
            reservation.take(REQUEST_OVERHEAD_BYTES + len(message))
            order = Order(call.model, arrived, self._hold_until(arrived, call, request), repeatable)
            response = await self._dispatcher.send(
                order, lambda endpoint: self._upstream.attempt(endpoint, request, call.model)
            )
        return await _relay(response, context)

    def _hold_until(self, arrived: float, call: ModelCall, request: Request) -> float:
        limits = [arrived + self._settings.longest_hold_seconds]
        if request.answer_until_seconds is not None:
            limits.append(request.answer_until_seconds)
        if call.operation is Operation.INFER:
            timeout = protocol.grpc_timeout_seconds(request.message)
            if timeout is not None:
                limits.append(arrived + timeout)
        return min(limits)

    async def _for_pool(self, operation: PoolOperation, message: bytes) -> bytes:
        match operation:
            case PoolOperation.LIVE:
                answer = service_pb2.ServerLiveResponse(live=True)
            case PoolOperation.READY:
                answer = service_pb2.ServerReadyResponse(ready=self._pool.ready)
            case PoolOperation.METADATA:
                answer = _message(await self._pool.metadata(), service_pb2.ServerMetadataResponse())
            case PoolOperation.STATISTICS:
                answer = _message(await self._pool.statistics(), service_pb2.ModelStatisticsResponse())
            case PoolOperation.INDEX:
                only_ready = service_pb2.RepositoryIndexRequest.FromString(message).ready
                models = self._pool.index(only_ready=only_ready)
                answer = _message({"models": models}, service_pb2.RepositoryIndexResponse())
        return bytes(answer.SerializeToString())


def _ready(ready: bool) -> bytes:
    """Of a model that nobody knows Triton says that it is not ready, and does not fail."""
    return bytes(service_pb2.ModelReadyResponse(ready=ready).SerializeToString())


def _message(
    body: dict[str, object], message: service_pb2.ModelStatisticsResponse
) -> service_pb2.ModelStatisticsResponse:
    """Fill a message from Triton's own JSON, whose fields are named alike; Triton may know more of them."""
    return json_format.Parse(json.dumps(body), message, ignore_unknown_fields=True)


async def _relay(response: Response, context: Context) -> bytes:
    trailing = passed_on(response.trailing_metadata)
    if response.message is None:
        marked = (*trailing, (refusals.NOT_RETRIED_HEADER, "true"))
        return await context.abort(response.code, response.details, marked)
    await context.send_initial_metadata(passed_on(response.initial_metadata))
    context.set_trailing_metadata(trailing)
    return response.message


def server_options(settings: Settings) -> list[tuple[str, int]]:
    """Return the options of the gRPC server: bodies up to the pool's limit, answers of any size."""
    return [
        ("grpc.max_receive_message_length", settings.body_limit_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", 64 * 1024),
        ("grpc.so_reuseport", 0),
    ]
