"""What the gateway holds, without I/O: waiting requests by model, the room they take, and known failures.

Times are seconds on one monotonic clock that the caller reads.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Final

from larder.api.demand import Failure, Waiting, WaitingModel

REQUEST_OVERHEAD_BYTES: Final = 4096
"""What a held request costs besides its body."""
MODEL_SHARE: Final = 0.5
"""Of what may be held in all, what one model may take: a burst for one leaves room for the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """One waiting request, which waits until its deadline and stands in line by when it is due. No two are equal."""

    model: str
    arrived_seconds: float
    deadline_seconds: float
    due_seconds: float = inf


Place = tuple[float, int, Ticket]


class Room:
    """The requests that wait for their model, in line by when they are due, then by arrival.

    A promise stands for requests that were sent away because their model comes too late for them: it is still wanted.
    """

    def __init__(self) -> None:
        self._lines: dict[str, list[Place]] = {}
        self._places: dict[Ticket, Place] = {}
        self._numbers = count()
        self._promises: dict[str, tuple[float, float]] = {}
        self._paced: set[str] = set()

    def enter(self, ticket: Ticket) -> None:
        """Let a request stand in line."""
        place = (min(ticket.due_seconds, ticket.deadline_seconds), next(self._numbers), ticket)
        self._places[ticket] = place
        insort(self._lines.setdefault(ticket.model, []), place)

    def leave(self, ticket: Ticket) -> bool:
        """Forget a request; return whether it was waiting."""
        place = self._places.pop(ticket, None)
        if place is None:
            return False
        line = self._lines[ticket.model]
        del line[bisect_left(line, place)]
        if not line:
            del self._lines[ticket.model]
            self._paced.discard(ticket.model)
        return True

    def first(self, model: str) -> Ticket | None:
        """Return who is next."""
        line = self._lines.get(model)
        return line[0][2] if line else None

    def line(self, model: str) -> list[Ticket]:
        """Return all that wait for a model, in order."""
        return [ticket for _, _, ticket in self._lines.get(model, ())]

    def models(self) -> Collection[str]:
        """Return the models that are waited for."""
        return self._lines.keys()

    def pace(self, model: str, *, is_served: bool) -> bool:
        """Note whether a model's line moves: then copies are only busy, and none has to be asked for.

        Return whether that is news.
        """
        paced = is_served and model in self._lines
        news = paced is not (model in self._paced)
        (self._paced.add if paced else self._paced.discard)(model)
        return news

    def promise(self, model: str, now_seconds: float, until_seconds: float) -> None:
        """Want the model until then, though nobody waits for it."""
        since = self._promises.get(model, (now_seconds, 0.0))[0]
        self._promises[model] = (since, until_seconds)

    def end_promises(self, now_seconds: float, resident: Collection[str]) -> bool:
        """Drop the promises that are kept, or past; return whether there were any."""
        over = [model for model, (_, until) in self._promises.items() if until <= now_seconds or model in resident]
        for model in over:
            del self._promises[model]
        return bool(over)

    def __len__(self) -> int:
        return len(self._places)

    def counts(self) -> dict[str, int]:
        """Return the number of waiting requests of each model that has any."""
        return {model: len(line) for model, line in self._lines.items()}

    def waiting(self, now_seconds: float) -> Waiting:
        """Return what has to be loaded for what waits, as ages and remainders."""
        promised = {
            model: WaitingModel(1, max(0.0, now_seconds - since), until - now_seconds)
            for model, (since, until) in self._promises.items()
        }
        stuck = {name: _summary(line, now_seconds) for name, line in self._lines.items() if name not in self._paced}
        return Waiting(promised | stuck)


def _summary(line: list[Place], now_seconds: float) -> WaitingModel:
    oldest = min(ticket.arrived_seconds for _, _, ticket in line)
    deadline = min(ticket.deadline_seconds for _, _, ticket in line)
    return WaitingModel(len(line), max(0.0, now_seconds - oldest), deadline - now_seconds)


class Held:
    """The bounds on what held requests take, in bytes and in number, of one model and in all."""

    def __init__(self, limit_bytes: int, limit_requests: int) -> None:
        self._limit_bytes, self._limit_requests = limit_bytes, limit_requests
        self._by_model: dict[str, tuple[int, int]] = {}
        self.bytes = 0
        self.requests = 0

    def admit(self, model: str) -> bool:
        """Count one more request of a model, or return False when it is one too many."""
        size, number = self._by_model.get(model, (0, 0))
        if self.requests >= self._limit_requests or number >= max(1, int(MODEL_SHARE * self._limit_requests)):
            return False
        self._by_model[model] = (size, number + 1)
        self.requests += 1
        return True

    def reserve(self, model: str, amount_bytes: int) -> bool:
        """Take bytes for an admitted request, or return False when they do not fit; a model's only one may take all."""
        size, number = self._by_model[model]
        if self.bytes + amount_bytes > self._limit_bytes:
            return False
        if number > 1 and size + amount_bytes > MODEL_SHARE * self._limit_bytes:
            return False
        self._by_model[model] = (size + amount_bytes, number)
        self.bytes += amount_bytes
        return True

    def release(self, model: str, amount_bytes: int) -> None:
        """Forget an admitted request and what it took."""
        size, number = self._by_model.pop(model)
        if number > 1:
            self._by_model[model] = (size - amount_bytes, number - 1)
        self.bytes -= amount_bytes
        self.requests -= 1

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_model)


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
