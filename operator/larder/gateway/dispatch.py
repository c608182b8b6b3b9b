"""The one place where a name in a request becomes a placement: pick a copy, try it, hold, try again, give up.

A copy that turned out stale or dead is left alone for a short, growing pause, or until its pod's record changes;
after it one request at a time probes it. The last copy is never given up: its requests are held.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from larder.gateway import refusals
from larder.gateway.holding import Ticket
from larder.gateway.metrics import Metrics
from larder.gateway.routes import Endpoint, Version
from larder.gateway.state import State

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """Triton answered, be it with an error of its own."""

    value: T


@dataclass(frozen=True, slots=True)
class Stale:
    """The model is not on that pod, whatever the route said; it did not run."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The pod could not be reached (`sent` False) or was lost after bytes went to it."""

    sent: bool
    message: str


Attempt = Callable[[Endpoint], Awaitable[Answered[T] | Stale | Broken]]


@dataclass(frozen=True, slots=True)
class Order:
    """A request to place. `repeatable`: it may be sent again though it may have run already."""

    model: str
    arrived_seconds: float
    hold_until_seconds: float
    repeatable: bool = True


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
        self._in_flight: dict[str, int] = {}

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
        while True:
            bell = self._state.bell(order.model)
            self.check(order.model)
            endpoint = self._pick(order.model)
            if endpoint is None:
                await self._hold(order, bell)
                continue
            outcome = await self._try(endpoint, attempt)
            if isinstance(outcome, Answered):
                self._forgive(endpoint, order.model)
                return outcome.value
            self._metrics.retries.inc()
            self._avoid(endpoint, order.model)
            if isinstance(outcome, Broken) and outcome.sent and not order.repeatable:
                raise refusals.broken(order.model, outcome.message)

    def check(self, model: str) -> None:
        """Raise the RefusalError for a model that nobody declares or that can't be had now."""
        if self._state.declared(model) is False:
            raise refusals.unknown_model(model)
        known = self._state.failure(model)
        if known is not None and not self._state.copies(model):
            raise refusals.failed(model, known.message, known.until_seconds - self._state.now_seconds())

    async def _try(self, endpoint: Endpoint, attempt: Attempt[T]) -> Answered[T] | Stale | Broken:
        self._in_flight[endpoint.pod_uid] = self._in_flight.get(endpoint.pod_uid, 0) + 1
        try:
            return await attempt(endpoint)
        finally:
            self._in_flight[endpoint.pod_uid] -= 1
            if not self._in_flight[endpoint.pod_uid]:
                del self._in_flight[endpoint.pod_uid]

    async def _hold(self, order: Order, bell: asyncio.Event) -> None:
        now = self._state.now_seconds()
        if now >= order.hold_until_seconds:
            raise refusals.expired(order.model, now - order.arrived_seconds)
        ticket = Ticket(order.model, order.arrived_seconds, order.hold_until_seconds)
        wake_at = min(order.hold_until_seconds, self._next_probe_seconds(order.model))
        self._state.enter(ticket)
        try:
            async with asyncio.timeout(max(0.0, wake_at - now)):
                await bell.wait()
        except TimeoutError:
            pass
        finally:
            self._state.leave(ticket)
            self._metrics.held_seconds.observe(self._state.now_seconds() - now)

    def _pick(self, model: str) -> Endpoint | None:
        now = self._state.now_seconds()
        usable = [endpoint for endpoint in self._state.copies(model) if self._usable(endpoint, model, now)]
        chosen = min(usable, key=lambda endpoint: self._in_flight.get(endpoint.pod_uid, 0), default=None)
        if chosen is not None and (chosen.pod_uid, model) in self._avoided:
            self._avoid(chosen, model)
        return chosen

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

    def _forgive(self, endpoint: Endpoint, model: str) -> None:
        if self._avoided.pop((endpoint.pod_uid, model), None) is not None:
            self._state.ring(model)

    def _next_probe_seconds(self, model: str) -> float:
        copies = self._state.copies(model)
        pauses = [self._avoided[key] for e in copies if (key := (e.pod_uid, model)) in self._avoided]
        return min((avoided.until_seconds for avoided in pauses), default=float("inf"))

    def prune(self) -> None:
        """Forget pauses of copies that are routed to no more."""
        for uid, model in list(self._avoided):
            if uid not in {endpoint.pod_uid for endpoint in self._state.copies(model)}:
                del self._avoided[uid, model]
