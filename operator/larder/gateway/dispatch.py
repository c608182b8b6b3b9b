"""The one place where a name in a request becomes a placement: wait for a turn at a copy, try it, wait again, give up.

Requests of a model stand in line by their deadlines, and each copy takes as many at once as its window lets it. A copy
that turned out stale or dead is left alone for a short, growing pause, or until its pod's record changes; after it one
request at a time probes it. The last copy is never given up: its requests are held.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from larder.api.demand import Dead
from larder.gateway import refusals
from larder.gateway.holding import Ticket
from larder.gateway.metrics import Metrics
from larder.gateway.pacing import REST_SECONDS, Window
from larder.gateway.routes import Endpoint, Version
from larder.gateway.state import State

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 1.0
CLOCK_SECONDS: Final = 0.001
"""A timer of the loop may go off so much early."""
MOST_LOSSES: Final = 3
"""So often may a request be lost with what ran it: it may be the request that ends its model."""

DEAD_STUB: Final = re.compile(r"Stub process (?:'[^']*' )?is not healthy")
"""How Triton says that a python model's process has ended. A model that raises has other words, and runs once."""
QUEUE_FULL: Final = "Exceeds maximum queue size"
"""How Triton says that a model's queue takes no more."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """Triton answered, be it with an error of its own."""

    value: T


@dataclass(frozen=True, slots=True)
class Stale:
    """The model is not on that pod, whatever the route said; it did not run."""


@dataclass(frozen=True, slots=True)
class Full:
    """The model's queue on that pod takes no more now; the request did not run."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The pod could not be reached (`sent` False) or was lost after bytes went to it; `cut`: it may have run then.

    `dead`: Triton answers, and says that the model's own process there has ended.
    """

    sent: bool
    message: str
    cut: bool = False
    dead: bool = False


Load = tuple[str, float | None]
"""One load of a model: the pod, and since when it is there."""

Outcome = Answered[T] | Stale | Full | Broken
Attempt = Callable[[Endpoint], Awaitable[Outcome[T]]]


@dataclass(frozen=True, slots=True)
class Order:
    """A request to place. `repeatable`: it may be sent again though it may have run already."""

    model: str
    arrived_seconds: float
    hold_until_seconds: float
    repeatable: bool = True


@dataclass(slots=True)
class Losses:
    """How often one request may have been what ended its model. A dead process is met again until it is replaced."""

    count: int = 0
    _dead: set[Load] = field(default_factory=set)

    def note(self, load: Load, outcome: Broken) -> None:
        """Count every connection that was cut, and a dead process once for its load."""
        self.count += outcome.cut and load not in self._dead
        if outcome.dead:
            self._dead.add(load)


@dataclass(frozen=True, slots=True)
class _Avoided:
    version: Version
    until_seconds: float
    pause_seconds: float


class Dispatcher:
    """Places requests that did not find their model through Envoy."""

    def __init__(self, state: State, metrics: Metrics) -> None:
        self._state = state
        self._metrics = metrics
        self._avoided: dict[tuple[str, str], _Avoided] = {}
        self._windows: dict[tuple[str, str], Window] = {}
        self._in_flight: dict[str, int] = {}
        self._turns: dict[Ticket, asyncio.Future[Endpoint]] = {}
        state.listener = self.review

    async def send(self, order: Order, attempt: Attempt[T]) -> T:
        """Return Triton's answer, holding the request as long as it takes. Raises RefusalError."""
        try:
            answer = await self.place(order, attempt)
        except refusals.RefusalError as refusal:
            self._metrics.cold(refusal.code.name.lower())
            raise
        self._metrics.cold("answered")
        return answer

    async def place(self, order: Order, attempt: Attempt[T]) -> T:
        """As `send`, for who counts by itself."""
        lost = Losses()
        while True:
            endpoint = await self._turn(order)
            load = self._load(endpoint, order.model)
            outcome = await self._try(endpoint, order.model, attempt)
            if isinstance(outcome, Answered):
                return outcome.value
            self._metrics.retries.inc()
            if isinstance(outcome, Broken):
                if outcome.sent and not order.repeatable:
                    raise refusals.broken(order.model, outcome.message)
                lost.note(load, outcome)
                if lost.count >= MOST_LOSSES:
                    raise refusals.deadly(order.model, lost.count, outcome.message)

    def _load(self, endpoint: Endpoint, model: str) -> Load:
        resident = self._state.resident(endpoint.pod_uid, model)
        return endpoint.pod_uid, None if resident is None else resident.since_seconds

    def check(self, model: str) -> None:
        """Raise the RefusalError for a model that nobody declares or that can't be had now."""
        if self._state.declared(model) is False:
            raise refusals.unknown_model(model)
        known = self._state.failure(model)
        if known is not None and not self._state.copies(model):
            raise refusals.failed(model, known.message, known.until_seconds - self._state.now_seconds())

    def _check_time(self, model: str, hold_until_seconds: float) -> None:
        """Raise the RefusalError for a request whose model is expected too late; it is wanted all the same."""
        ready_at = self._state.ready_at_seconds(model)
        if ready_at is None or ready_at <= hold_until_seconds:
            return
        now = self._state.now_seconds()
        self._state.promise(model, ready_at)
        raise refusals.late(model, ready_at - now)

    async def _turn(self, order: Order) -> Endpoint:
        """Wait until a copy may be tried; its place there is taken, and `_try` gives it back."""
        model, now = order.model, self._state.now_seconds()
        self.check(model)
        if self._state.room.first(model) is None and (endpoint := self._pick(model)) is not None:
            self._take(endpoint, model)
            return endpoint
        if now >= order.hold_until_seconds:
            raise refusals.expired(model, now - order.arrived_seconds)
        self._check_time(model, order.hold_until_seconds)
        due = order.arrived_seconds + self._state.answer_seconds(model)
        ticket = Ticket(model, order.arrived_seconds, order.hold_until_seconds, due)
        try:
            return await self._stand_in_line(ticket, order.hold_until_seconds - now)
        except TimeoutError:
            held = self._state.now_seconds() - order.arrived_seconds
            raise refusals.expired(model, held) from None
        finally:
            self._metrics.held_seconds.observe(self._state.now_seconds() - now)

    async def _stand_in_line(self, ticket: Ticket, seconds: float) -> Endpoint:
        turn: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        self._turns[ticket] = turn
        self._state.enter(ticket)
        self.serve(ticket.model)
        try:
            async with asyncio.timeout(seconds):
                return await turn
        except BaseException:
            # The turn may have come in the very moment in which the client went away.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(turn.result(), ticket.model)
            raise
        finally:
            self._turns.pop(ticket, None)
            self._state.leave(ticket)

    def review(self, model: str) -> None:
        """Something changed for this model: send away who can't be served, and serve who can."""
        for ticket in self._state.room.line(model):
            try:
                self.check(model)
                self._check_time(model, ticket.deadline_seconds)
            except refusals.RefusalError as refusal:
                self._state.leave(ticket)
                self._turns.pop(ticket).set_exception(refusal)
        self.serve(model)

    def serve(self, model: str) -> None:
        """Give turns to those who are next, as far as the copies take them."""
        room = self._state.room
        while (ticket := room.first(model)) is not None and (endpoint := self._pick(model)) is not None:
            self._take(endpoint, model)
            self._state.leave(ticket)
            turn = self._turns.pop(ticket)
            if turn.done():
                self._release(endpoint, model)
            else:
                turn.set_result(endpoint)
        now = self._state.now_seconds()
        self._state.pace(model, is_served=any(self._usable(e, model, now) for e in self._state.copies(model)))

    async def _try(self, endpoint: Endpoint, model: str, attempt: Attempt[T]) -> Outcome[T]:
        outcome: Outcome[T] | None = None
        try:
            outcome = await attempt(endpoint)
            self._judge(endpoint, model, outcome)
        finally:
            self._give_back(endpoint, model, answered=isinstance(outcome, Answered))
        return outcome

    def _judge(self, endpoint: Endpoint, model: str, outcome: Outcome[T]) -> None:
        match outcome:
            case Answered():
                self._avoided.pop((endpoint.pod_uid, model), None)
            case Full():
                self._windows[endpoint.pod_uid, model].shrink(self._state.now_seconds())
                self._serve_later(model, REST_SECONDS)
            case _:
                self._avoid(endpoint, model)
                if isinstance(outcome, Broken) and outcome.dead:
                    self._state.report(Dead(model, endpoint.pod_uid))

    def _take(self, endpoint: Endpoint, model: str) -> None:
        self._in_flight[endpoint.pod_uid] = self._in_flight.get(endpoint.pod_uid, 0) + 1
        self._windows.setdefault((endpoint.pod_uid, model), Window()).take()
        if (endpoint.pod_uid, model) in self._avoided:
            self._avoid(endpoint, model)

    def _release(self, endpoint: Endpoint, model: str, *, answered: bool = False) -> None:
        self._windows[endpoint.pod_uid, model].give_back(answered=answered)
        self._in_flight[endpoint.pod_uid] -= 1
        if not self._in_flight[endpoint.pod_uid]:
            del self._in_flight[endpoint.pod_uid]

    def _give_back(self, endpoint: Endpoint, model: str, *, answered: bool = False) -> None:
        self._release(endpoint, model, answered=answered)
        self.serve(model)

    def _pick(self, model: str) -> Endpoint | None:
        now = self._state.now_seconds()
        free = [e for e in self._state.copies(model) if self._usable(e, model, now) and self._has_room(e, model, now)]
        return min(free, key=lambda endpoint: self._in_flight.get(endpoint.pod_uid, 0), default=None)

    def _has_room(self, endpoint: Endpoint, model: str, now_seconds: float) -> bool:
        window = self._windows.get((endpoint.pod_uid, model))
        return window is None or window.has_room(now_seconds)

    def _usable(self, endpoint: Endpoint, model: str, now_seconds: float) -> bool:
        avoided = self._avoided.get((endpoint.pod_uid, model))
        if avoided is None:
            return True
        if avoided.version != endpoint.version:
            del self._avoided[endpoint.pod_uid, model]
            return True
        return now_seconds >= avoided.until_seconds

    def _avoid(self, endpoint: Endpoint, model: str) -> None:
        """Lengthen the pause, except for the requests of one burst that all failed together."""
        now, key = self._state.now_seconds(), (endpoint.pod_uid, model)
        avoided = self._avoided.get(key)
        if avoided is not None and avoided.until_seconds > now:
            return
        pause = FIRST_PAUSE_SECONDS if avoided is None else min(2 * avoided.pause_seconds, LONGEST_PAUSE_SECONDS)
        self._avoided[key] = _Avoided(endpoint.version, now + pause, pause)
        self._serve_later(model, pause)

    def _serve_later(self, model: str, seconds: float) -> None:
        """Look again when the pause has ended, which nothing else tells."""
        asyncio.get_running_loop().call_later(seconds + CLOCK_SECONDS, self.serve, model)

    def prune(self) -> None:
        """Forget pauses and windows of copies that are routed to no more."""
        for uid, model in list(self._avoided):
            if not self._is_routed(uid, model):
                del self._avoided[uid, model]
        for (uid, model), window in list(self._windows.items()):
            if not window.in_flight and not self._is_routed(uid, model):
                del self._windows[uid, model]

    def _is_routed(self, uid: str, model: str) -> bool:
        return uid in {endpoint.pod_uid for endpoint in self._state.copies(model)}
