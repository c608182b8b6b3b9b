"""Which of the operator's replicas acts: a Lease, and a deadline on the leader's own monotonic clock.

Own code over the Lease because the elector of `kubernetes.aio` measures with the wall clock, ends at the first
connection that breaks, counts no transitions and releases nothing: each is needed here.

A leader whose last renewal began longer ago than the renew deadline starts no command; others wait for the whole
duration since they last saw the Lease change, or vanish. So with clocks that run equally fast two never act at once,
except for commands that were under way.

The term never falls: it is higher than every one that the Lease had or pods carry, also when the Lease was deleted.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from larder.adapters.kube.lease import LeaseRecord
from larder.errors import LarderError

log = logging.getLogger(__name__)


class NotLeadingError(LarderError):
    """This replica may not act now."""


class Fence(Protocol):
    """Asked before every command."""

    @property
    def term(self) -> int:
        """The leader's term."""

    def check(self) -> None:
        """Raise NotLeadingError where no command may start."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: how long a Lease holds, by when the leader must have renewed it, between two tries, and how long a
    leader rests that has renewed it.
    """

    duration_seconds: float = 9.0
    renew_seconds: float = 6.0
    retry_seconds: float = 1.0
    rest_seconds: float = 2.0


class Store(Protocol):
    """Where the Lease is."""

    async def read(self) -> LeaseRecord | None:
        """Return the present record."""

    async def write(self, record: LeaseRecord, duration_seconds: float) -> LeaseRecord | None:
        """Write over the version that the record carries; None if another was faster."""


@dataclass(slots=True)
class Leadership:
    """One candidate. `identity` must be new for every process: a restarted one is another leader with a new term."""

    store: Store
    identity: str
    monotonic: Callable[[], float]
    timing: Timing = field(default_factory=Timing)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    newest_written: Callable[[], int] = lambda: 0
    """The highest term that pods carry."""
    _record: LeaseRecord | None = None
    _seen_seconds: float | None = None
    _term: int = 0
    _renewed_seconds: float | None = None

    @property
    def leading(self) -> bool:
        """Whether a command may start now."""
        if self._renewed_seconds is None:
            return False
        return self.monotonic() - self._renewed_seconds < self.timing.renew_seconds

    @property
    def term(self) -> int:
        """How often the Lease has changed hands up to now; it orders what leaders write."""
        return self._term

    def check(self) -> None:
        """Raise NotLeadingError where no command may start."""
        if not self.leading:
            raise NotLeadingError(f"{self.identity} does not lead")

    async def run(self) -> None:
        """Acquire and renew until cancelled; `changed` is set at every change."""
        while True:
            began = self.monotonic()
            try:
                async with asyncio.timeout(self.timing.renew_seconds / 2):
                    await self._try()
            except (LarderError, TimeoutError) as error:
                log.warning("the Lease can't be renewed: %s", error or "no answer in time")
            if self._renewed_seconds is not None and not self.leading:
                self._lose("its renew deadline has passed")
            await asyncio.sleep(self._pause_seconds(began))

    def _pause_seconds(self, began_seconds: float) -> float:
        """Each renewal is a write: one that succeeded need not be followed by the next so soon."""
        renewed = self._renewed_seconds is not None and self._renewed_seconds >= began_seconds
        return self.timing.rest_seconds if renewed else self.timing.retry_seconds

    async def release(self) -> None:
        """Let another lead at once. After `run` was cancelled."""
        if self._renewed_seconds is None:
            return
        self._lose("it was released")
        try:
            async with asyncio.timeout(self.timing.renew_seconds / 2):
                # Read anew: a renewal may have been under way when this replica was told to end.
                found = await self.store.read()
                if found is not None and found.holder == self.identity:
                    await self.store.write(replace(found, holder=""), 1.0)
        except (LarderError, TimeoutError) as error:
            log.warning("the Lease could not be released: %s", error)

    async def _try(self) -> None:
        began = self.monotonic()
        found = await self.store.read()
        self._observe(found, began)
        if not self._may_take(found):
            if self._renewed_seconds is not None:
                self._lose(f"{found.holder if found else 'nobody'} holds the Lease")
            return
        written = await self.store.write(self._next(found), self.timing.duration_seconds)
        if written is None:
            return
        self._record, self._seen_seconds = written, began
        if self._renewed_seconds is not None and not self.leading:
            # Commands were refused meanwhile, and nobody repeats them: only a new term begins everything anew.
            self._lose("its renew deadline passed before it had renewed")
            return
        gained, self._renewed_seconds, self._term = self._renewed_seconds is None, began, written.transitions
        if gained:
            log.info("%s leads, term %d", self.identity, self.term)
            self.changed.set()

    def _observe(self, found: LeaseRecord | None, now_seconds: float) -> None:
        if self._seen_seconds is None or found != self._record:
            self._record, self._seen_seconds = found, now_seconds
        if found is not None:
            self._term = max(self._term, found.transitions)

    def _may_take(self, found: LeaseRecord | None) -> bool:
        if found is None:
            # One that was deleted may have a leader still, who puts it back.
            if self._renewed_seconds is not None or max(self._term, self.newest_written()) == 0:
                return True
        elif not found.holder or found.holder == self.identity:
            return True
        duration = max(self.timing.duration_seconds, found.duration_seconds if found else 0)
        return self._seen_seconds is not None and self.monotonic() - self._seen_seconds > duration

    def _next(self, found: LeaseRecord | None) -> LeaseRecord:
        continues = self._renewed_seconds is not None and (found is None or found.holder == self.identity)
        term = self._term if continues else max(self._term, self.newest_written()) + 1
        return replace(found or LeaseRecord("", 0), holder=self.identity, transitions=term)

    def _lose(self, why: str) -> None:
        log.warning("%s no longer leads: %s", self.identity, why)
        self._renewed_seconds = None
        self.changed.set()
