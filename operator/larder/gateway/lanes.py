"""One model's share of one client's stream: its messages wait, go to a pod in order, and are answered.

What waits for a cold model holds nothing else of the stream. A message that was written and not answered is written
again elsewhere when its pod is lost, unless the model is stateful or the message was answered in part. When routing
to a pod stops, no message goes there any more, and what runs there ends first.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Protocol

import grpc
from tritonclient.grpc import service_pb2

from larder.errors import InvalidInputError
from larder.gateway import refusals, stream_protocol
from larder.gateway.dispatch import DEAD_STUB, Answered, Broken, Dispatcher, Order, Outcome
from larder.gateway.grpc_upstream import ASK_SECONDS, GrpcUpstream, Metadata, Request
from larder.gateway.refusals import RefusalError
from larder.gateway.reserve import Reservation
from larder.gateway.routes import Endpoint
from larder.gateway.state import State
from larder.gateway.stream_protocol import Answer, Message
from larder.gateway.stream_upstream import End, UpstreamStream

STREAM: Final = "ModelStreamInfer"
IDLE_SECONDS: Final = 60.0
"""A lane with nothing to do for so long gives its stream to the pod back."""
MOST_LOSSES: Final = 2
"""A message that outlived so many pods is not given to a third: it may be what kills them."""
_GONE_CODES: Final = frozenset({grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""How a stream ends that a pod ended for reasons of its own; other codes are for the client."""


class Client(Protocol):
    """The client's side of the stream."""

    metadata: Metadata

    async def answer(self, body: bytes) -> None:
        """Send an answer."""

    def settle(self, pending: "Pending", outcome: str) -> None:
        """A message has had its last answer."""

    def fail(self, end: End) -> None:
        """End the whole stream as a pod ended it."""

    def moved(self) -> None:
        """A lane was opened or closed."""


@dataclass(slots=True, eq=False)
class Pending:
    """A message that has not had its last answer."""

    message: Message
    body: bytes
    arrived_seconds: float
    hold_until_seconds: float
    reservation: Reservation
    answers: int = 0
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Upstreams:
    """What lanes need of the gateway."""

    state: State
    dispatcher: Dispatcher
    calls: GrpcUpstream


@dataclass(slots=True, eq=False)
class Session:
    """A lane's stream to one pod, and the messages written to it in order."""

    endpoint: Endpoint
    stream: UpstreamStream
    decoupled: bool
    written: list[Pending] = field(default_factory=list)
    again: list[Pending] = field(default_factory=list)
    over: bool = False

    def of(self, answer: Answer) -> Pending | None:
        """Return whose answer this is: the oldest message with its id."""
        same = (pending for pending in self.written if pending.message.id == answer.id)
        return next(same, None) or next(iter(self.written), None)

    def partly_answered(self, pending: Pending) -> bool:
        """Whether the client may have seen answers to it; messages of one id can't be told apart."""
        return any(other.answers and other.message.id == pending.message.id for other in self.written)


class Lane:
    """Runs until it is idle or closed, and all is answered."""

    def __init__(self, model: str, client: Client, parts: Upstreams) -> None:
        self.model = model
        self.open = False
        self._client = client
        self._parts = parts
        self._waiting: deque[Pending] = deque()
        self._ending: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._closed = False
        self._bytes = 0
        self._dead_on: set[str] = set()

    @property
    def has_work(self) -> bool:
        """Whether messages wait here."""
        return bool(self._waiting)

    @property
    def bytes_on_their_way(self) -> int:
        """What was or can be written to a pod and is not answered; what waits for a pod does not count."""
        return self._bytes if self.open else 0

    def put(self, pending: Pending) -> None:
        """Take a message of the client."""
        self._waiting.append(pending)
        self._bytes += len(pending.body)
        self._wake.set()

    def close(self) -> None:
        """No message follows."""
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Serve this model's messages."""
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            while await self._until_work():
                session = await self._place()
                if session is None:
                    continue
                reading = group.create_task(self._read(session))
                await self._write(session)
                if self._in_order(session):
                    await reading
                else:
                    self._end_by_itself(reading)
            watching.cancel()

    def _in_order(self, session: Session) -> bool:
        """Triton answers a model that is not decoupled in the order of its requests, so a second pod has to wait."""
        return not session.decoupled or self._parts.state.stateful(self.model)

    def _end_by_itself(self, reading: asyncio.Task[None]) -> None:
        self._ending.add(reading)
        reading.add_done_callback(self._ending.discard)
        reading.add_done_callback(lambda _: self._wake.set())

    async def _watch(self) -> None:
        """Wake up at every change of the routes to this model."""
        while True:
            await self._parts.state.bell(self.model).wait()
            self._wake.set()

    async def _until_work(self) -> bool:
        """Wait while work may come back from a pod; False when there is none."""
        while not self._waiting and self._ending:
            self._wake.clear()
            await self._wake.wait()
        return bool(self._waiting)

    async def _place(self) -> Session | None:
        """Find a pod, holding what waits as long as it takes; None: some of it was answered with why not."""
        head = self._waiting[0]
        until = min(pending.hold_until_seconds for pending in self._waiting)
        try:
            order = Order(self.model, head.arrived_seconds, until)
            return await self._parts.dispatcher.place(order, self._connect)
        except RefusalError as refusal:
            await self._refuse_expired(refusal)
            return None

    async def _refuse_expired(self, refusal: RefusalError) -> None:
        now = self._parts.state.now_seconds()
        expired = [pending for pending in self._waiting if pending.hold_until_seconds <= now]
        for pending in expired or [min(self._waiting, key=lambda pending: pending.hold_until_seconds)]:
            self._waiting.remove(pending)
            await self._refuse(pending, refusal)

    async def _refuse(self, pending: Pending, refusal: RefusalError) -> None:
        await self._client.answer(stream_protocol.error(pending.message, refusal.message))
        self._settle(pending, refusal.code.name.lower())

    def _settle(self, pending: Pending, outcome: str) -> None:
        self._bytes -= len(pending.body)
        self._client.settle(pending, outcome)

    async def _connect(self, endpoint: Endpoint) -> Outcome[Session]:
        """Open a stream to a pod that has the model: its configuration says both that and whether it is decoupled.

        Triton still says so of a model whose own process has ended.
        """
        if endpoint.pod_uid in self._dead_on:
            self._dead_on.discard(endpoint.pod_uid)
            return Broken(sent=True, message="its process has ended", dead=True)
        question = service_pb2.ModelConfigRequest(name=self.model).SerializeToString()
        until = self._parts.state.now_seconds() + ASK_SECONDS
        request = Request("ModelConfig", question, (), stateful=True, answer_until_seconds=until)
        outcome = await self._parts.calls.attempt(endpoint, request, self.model)
        if not isinstance(outcome, Answered):
            return outcome
        if outcome.value.message is None:
            return Broken(sent=False, message=outcome.value.details)
        config = service_pb2.ModelConfigResponse.FromString(outcome.value.message).config
        stream = UpstreamStream(self._parts.calls.stream(endpoint.ip, STREAM, self._client.metadata))
        return Answered(Session(endpoint, stream, bool(config.model_transaction_policy.decoupled)))

    async def _write(self, session: Session) -> None:
        """Write what waits and what comes, until routing stops, the stream ends or nothing is left to do."""
        self._show_open(True)
        while await self._more(session):
            pending = self._waiting.popleft()
            session.written.append(pending)
            body = stream_protocol.asking_for_the_end(pending.body) if session.decoupled else pending.body
            if not await session.stream.write(body):
                break
        self._show_open(False)
        await session.stream.half_close()

    def _show_open(self, is_open: bool) -> None:
        self.open = is_open
        self._client.moved()

    def _routed(self, session: Session) -> bool:
        copies = self._parts.state.copies(self.model)
        return not session.over and any(copy.pod_uid == session.endpoint.pod_uid for copy in copies)

    async def _more(self, session: Session) -> bool:
        while self._routed(session):
            if self._waiting:
                return True
            if self._closed:
                return False
            self._wake.clear()
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                if not session.written:
                    return False
        return False

    async def _read(self, session: Session) -> None:
        """Pass answers on until the pod ends the stream, then see what it owes."""
        try:
            async for body in session.stream.answers():
                await self._take(session, body)
        except InvalidInputError as error:
            session.stream.end = End(grpc.StatusCode.INTERNAL, str(error))
        finally:
            session.stream.cancel()
            session.over = True
            self._wake.set()
        await self._after(session)

    async def _take(self, session: Session, body: bytes) -> None:
        answer = stream_protocol.parse_answer(body)
        pending = session.of(answer)
        if pending is None:
            return
        if answer.not_there and not await self._parts.calls.ready(session.endpoint.ip, self.model):
            session.over = True
            self._move(session, pending)
            return
        if self._met_a_dead_process(session, pending, answer):
            self._dead_on.add(session.endpoint.pod_uid)
            session.over = True
            self._move(session, pending)
            return
        pending.answers += 1
        only_the_end = session.decoupled and answer.final and answer.empty and not answer.error
        if pending.message.wants_end or not only_the_end:
            await self._client.answer(body)
        if answer.final:
            session.written.remove(pending)
            self._settle(pending, "answered")

    def _met_a_dead_process(self, session: Session, pending: Pending, answer: Answer) -> bool:
        """Whether it may run elsewhere, or here when the model is loaded again; other errors are the client's."""
        stateful = self._parts.state.stateful(self.model)
        dead = answer.final and DEAD_STUB.search(answer.error) is not None
        return dead and not stateful and not session.partly_answered(pending)

    def _move(self, session: Session, pending: Pending) -> None:
        """Write a message again; in its turn where order counts, else at once."""
        session.written.remove(pending)
        session.again.append(pending)
        if not self._in_order(session):
            self._put_back(session)
        self._wake.set()

    def _put_back(self, session: Session) -> None:
        in_turn = sorted(session.again, key=lambda pending: pending.arrived_seconds, reverse=True)
        self._waiting.extendleft(in_turn)
        session.again = []
        self._wake.set()

    async def _after(self, session: Session) -> None:
        """What the pod has not answered is written again elsewhere or answered with why not."""
        end = session.stream.end
        if end is not None and not end.lost and end.code not in _GONE_CODES:
            self._client.fail(end)
            return
        for pending in session.written:
            pending.losses += 1
            if self._repeatable(session, pending):
                session.again.append(pending)
            else:
                await self._refuse(pending, self._broken(end))
        session.written = []
        self._put_back(session)

    def _broken(self, end: End | None) -> RefusalError:
        stateful = self._parts.state.stateful(self.model)
        reason = end.details if end is not None and end.details else "its stream ended"
        return (refusals.broken if stateful else refusals.broken_off)(self.model, reason)

    def _repeatable(self, session: Session, pending: Pending) -> bool:
        if self._parts.state.stateful(self.model) or pending.losses >= MOST_LOSSES:
            return False
        return not session.partly_answered(pending)
