"""What the gateway holds, without I/O: waiting requests by model, the bytes of their bodies, and known failures.

Times are seconds on one monotonic clock that the caller reads.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from larder.api.demand import Failure, Waiting, WaitingModel

REQUEST_OVERHEAD_BYTES: Final = 4096
"""What a held request costs besides its body; so the bound on bytes bounds their number too."""


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """One waiting request. Two requests are never equal."""

    model: str
    arrived_seconds: float
    deadline_seconds: float


class Room:
    """The requests that wait for a model to become ready."""

    def __init__(self) -> None:
        self._tickets: dict[str, set[Ticket]] = {}

    def enter(self, ticket: Ticket) -> None:
        """Count a request as waiting."""
        self._tickets.setdefault(ticket.model, set()).add(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Forget a request; one that does not wait is no error."""
        tickets = self._tickets.get(ticket.model, set())
        tickets.discard(ticket)
        if not tickets:
            self._tickets.pop(ticket.model, None)

    def __len__(self) -> int:
        return sum(len(tickets) for tickets in self._tickets.values())

    def counts(self) -> dict[str, int]:
        """Return the number of waiting requests of each model that has any."""
        return {model: len(tickets) for model, tickets in self._tickets.items()}

    def waiting(self, now_seconds: float) -> Waiting:
        """Return all that waits, as ages and remainders."""
        return Waiting({model: _summary(tickets, now_seconds) for model, tickets in self._tickets.items()})


def _summary(tickets: Iterable[Ticket], now_seconds: float) -> WaitingModel:
    found = list(tickets)
    oldest = min(ticket.arrived_seconds for ticket in found)
    deadline = min(ticket.deadline_seconds for ticket in found)
    return WaitingModel(len(found), max(0.0, now_seconds - oldest), deadline - now_seconds)


class Bytes:
    """The bound on what held requests take of memory."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self.held = 0

    def reserve(self, amount_bytes: int) -> bool:
        """Take `amount_bytes`, or return False when they do not fit."""
        if self.held + amount_bytes > self._limit:
            return False
        self.held += amount_bytes
        return True

    def release(self, amount_bytes: int) -> None:
        """Give back what was reserved."""
        self.held -= amount_bytes


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """Why a model can't be had, and until when that is believed."""

    message: str
    until_seconds: float


class Failures:
    """Models that can't be had now, as the operator said."""

    def __init__(self) -> None:
        self._known: dict[str, KnownFailure] = {}

    def put(self, failure: Failure, now_seconds: float) -> None:
        """Believe a failure for as long as its retry_after."""
        self._known[failure.model] = KnownFailure(failure.message, now_seconds + failure.retry_after_seconds)

    def forget(self, model: str) -> None:
        """The model became resident."""
        self._known.pop(model, None)

    def of(self, model: str, now_seconds: float) -> KnownFailure | None:
        """Return the failure believed now."""
        known = self._known.get(model)
        if known is not None and known.until_seconds <= now_seconds:
            del self._known[model]
            return None
        return known
