"""ModelStreamInfer: one stream of a client, whose messages go each to the model that it names.

Answers of one model come in Triton's order; those of different models as they are ready, so that a cold model holds
nobody else. A stream that is open and idle ends with UNAVAILABLE when the gateway goes away; one with a message on its
way ends after the answer.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

import grpc

from larder.errors import InvalidInputError, LarderError
from larder.gateway import refusals, stream_protocol
from larder.gateway.grpc_server import Context, Handler
from larder.gateway.grpc_upstream import passed_on
from larder.gateway.holding import REQUEST_OVERHEAD_BYTES
from larder.gateway.lanes import STREAM, Lane, Pending, Upstreams
from larder.gateway.metrics import Metrics
from larder.gateway.protocol import GRPC_SERVICE
from larder.gateway.refusals import RefusalError
from larder.gateway.reserve import Reservation
from larder.gateway.settings import Settings
from larder.gateway.stream_protocol import Message
from larder.gateway.stream_upstream import End

log = logging.getLogger(__name__)

MOST_BYTES: Final = 16 * 1024 * 1024
"""A client's stream is read no further while so much of it is on its way to pods."""


class Streams(Handler):
    """Answers ModelStreamInfer, and knows every client stream that is open here."""

    def __init__(self, settings: Settings, parts: Upstreams, metrics: Metrics) -> None:
        self._settings = settings
        self._parts = parts
        self._metrics = metrics
        self._open: set[_ClientStream] = set()
        self._draining = False

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Return the handler: bytes in, bytes out."""
        if handler_call_details.method != f"/{GRPC_SERVICE}/{STREAM}":
            return None
        return grpc.stream_stream_rpc_method_handler(self.serve)

    def drain(self) -> None:
        """End every stream as soon as nothing is on its way in it, those that are still to come included."""
        self._draining = True
        for stream in self._open:
            stream.drain()

    async def serve(self, messages: AsyncIterator[bytes], context: Context) -> None:
        """Answer one stream to its end."""
        stream = _ClientStream(self._settings, self._parts, self._metrics, context)
        self._open.add(stream)
        if self._draining:
            stream.drain()
        try:
            failure = await stream.serve(messages)
        finally:
            self._open.discard(stream)
        if failure is not None:
            await context.abort(failure.code, failure.details, failure.trailing_metadata)


class _ClientStream:
    def __init__(self, settings: Settings, parts: Upstreams, metrics: Metrics, context: Context) -> None:
        self.metadata = passed_on(context.invocation_metadata() or ())
        self._settings = settings
        self._parts = parts
        self._metrics = metrics
        self._context = context
        self._lanes: dict[str, Lane] = {}
        self._pending: set[Pending] = set()
        self._failure: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._draining = False
        self._moved = asyncio.Event()
        self._writing = asyncio.Lock()

    def drain(self) -> None:
        """End as soon as nothing is on its way."""
        self._draining = True
        if not self._pending:
            self._refuse(refusals.going_away())

    async def serve(self, messages: AsyncIterator[bytes]) -> End | None:
        """Return how the stream fails; None where the client ended it."""
        # Before the first message: Envoy then stops keeping what the client sends for a retry.
        await self._context.send_initial_metadata(())
        work = asyncio.create_task(self._work(messages))
        self._failure.add_done_callback(lambda _: work.cancel())
        try:
            await asyncio.wait({work})
            if not self._failure.done():
                await work
            return self._failure.result() if self._failure.done() else None
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            for pending in self._pending:
                pending.reservation.release()

    async def _work(self, messages: AsyncIterator[bytes]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                async for body in messages:
                    await self._until_room()
                    await self._take(body, group)
                for lane in self._lanes.values():
                    lane.close()
        except* RefusalError as refusals_of_it:
            self._refuse(_first(refusals_of_it))
        except* (LarderError, OSError) as errors:
            log.warning("stream: %s", errors.exceptions)
            self._refuse(refusals.not_passed_on(errors))

    async def _until_room(self) -> None:
        while sum(lane.bytes_on_their_way for lane in self._lanes.values()) >= MOST_BYTES:
            self._moved.clear()
            await self._moved.wait()

    async def _take(self, body: bytes, group: asyncio.TaskGroup) -> None:
        try:
            message = stream_protocol.parse_message(body)
        except InvalidInputError as error:
            raise refusals.malformed(str(error)) from error
        try:
            self._admit(message, body, group)
        except RefusalError as refusal:
            self._metrics.streamed(message.model, refusal.code.name.lower())
            await self.answer(stream_protocol.error(message, refusal.message))

    def _admit(self, message: Message, body: bytes, group: asyncio.TaskGroup) -> None:
        if self._parts.state.declared(message.model) is False:
            raise refusals.unknown_model(message.model)
        reservation = Reservation(self._parts.state.held, message.model)
        reservation.take(REQUEST_OVERHEAD_BYTES + len(body))
        now = self._parts.state.now_seconds()
        pending = Pending(message, body, now, now + self._hold_seconds(message), reservation)
        self._pending.add(pending)
        lane = self._lanes.get(message.model)
        if lane is None:
            lane = self._lanes[message.model] = Lane(message.model, self, self._parts)
            group.create_task(self._run(lane))
        lane.put(pending)

    def _hold_seconds(self, message: Message) -> float:
        limits = (self._settings.longest_hold_seconds, self._context.time_remaining(), message.timeout_seconds)
        return min(limit for limit in limits if limit is not None)

    async def _run(self, lane: Lane) -> None:
        while lane.has_work:
            await lane.run()
        del self._lanes[lane.model]

    async def answer(self, body: bytes) -> None:
        async with self._writing:
            await self._context.write(body)

    def settle(self, pending: Pending, outcome: str) -> None:
        self._metrics.streamed(pending.message.model, outcome)
        pending.reservation.release()
        self._pending.discard(pending)
        self.moved()
        if self._draining and not self._pending:
            self._refuse(refusals.going_away())

    def moved(self) -> None:
        self._moved.set()

    def fail(self, end: End) -> None:
        if not self._failure.done():
            self._failure.set_result(end)

    def _refuse(self, refusal: RefusalError) -> None:
        # The stream's head is sent: Envoy does not retry it any more, and does not take its mark off either.
        trailing = tuple(item for item in refusal.headers.items() if item[0] != refusals.NOT_RETRIED_HEADER)
        self.fail(End(refusal.code, refusal.message, trailing))


def _first(group: ExceptionGroup[RefusalError]) -> RefusalError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
