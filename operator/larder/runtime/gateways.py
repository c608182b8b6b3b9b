"""The demand streams of one pool: what its gateways hold, have seen and count, and what they are told.

Level-triggered: a stream that breaks is opened again and each side says its present state whole. What a gateway last
said waits stays believed until its deadline: a request does not go away with a stream.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from larder.api.demand import Counts, Dead, Message, ModelCount, Seen, Waiting
from larder.core import snapshot as core
from larder.core.attainment import RATE_WINDOW_SECONDS
from larder.core.worth import RATE_AGE_SECONDS
from larder.errors import LarderError, UnavailableError
from larder.runtime.gather import Heard
from larder.runtime.pods import PodView

log = logging.getLogger(__name__)

SILENT_SECONDS: Final = 5.0
"""Gateways count once a second, also where nothing was asked; who is not heard for so long is unknown, not idle."""
KNOWN_SHARE: Final = 0.5
NEGLIGIBLE_RATE: Final = 0.001
RECONNECT_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SEND_SECONDS: Final = 2.0


class Socket(Protocol):
    """One open stream."""

    async def send(self, message: Message) -> None:
        """Send one message."""

    def messages(self) -> AsyncIterator[Message]:
        """Yield what the gateway says."""


Opener = Callable[[str], AbstractAsyncContextManager[Socket]]
"""Opens the stream of the gateway at an address."""


@dataclass(slots=True)
class Link:
    """One gateway pod and what it said last."""

    view: PodView
    task: asyncio.Task[None] | None = None
    socket: Socket | None = None
    waiting: dict[str, core.Waiting] = field(default_factory=dict)
    seen: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    counted_seconds: float | None = None
    asked_seconds: float | None = None
    """When something was asked of it last, as far as it was heard."""
    ready_seconds: float | None = None
    covered_seconds: float = 0.0
    """Time that counts told of since coverage was last taken."""
    fresh: bool = True
    """Whether it came since then."""
    outbox: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)

    def quiet_before(self, at_seconds: float) -> bool:
        """Whether it is ready and has not counted since then."""
        if self.ready_seconds is None:
            return False
        return max(self.ready_seconds, self.counted_seconds or self.ready_seconds) < at_seconds


class Listener(Protocol):
    """Who is told what gateways say, and says what they must know."""

    def demand_changed(self, models: Iterable[str]) -> None:
        """These models wait, or were used."""

    def counted(self, models: Mapping[str, ModelCount]) -> None:
        """A gateway counted these requests since it told last."""

    def died(self, model: str, pod_uid: str) -> None:
        """Triton on this pod says that the model's own process has ended."""

    def known(self) -> Iterable[Message]:
        """All hints and failures that a gateway must know."""


class Gateways:
    """All gateways of one pool. `follow` starts and ends streams; `close` ends all."""

    def __init__(self, open_stream: Opener, listener: Listener, now: Callable[[], float]) -> None:
        self._open = open_stream
        self._listener = listener
        self._now = now
        self._links: dict[str, Link] = {}
        self._moved = asyncio.Event()
        self._unsure_seconds = now()
        """When something was last asked, or may have been without being told here."""

    def follow(self, views: Iterable[PodView]) -> None:
        """Follow exactly these pods, by uid."""
        present = {view.uid: view for view in views if view.ip}
        for uid in [uid for uid in self._links if uid not in present]:
            self._end(self._links.pop(uid))
        for uid, view in present.items():
            if uid in self._links:
                self._links[uid].view = view
            else:
                link = self._links[uid] = Link(view)
                link.task = asyncio.create_task(self._run(link), name=f"demand stream of {view.name}")
            link = self._links[uid]
            link.ready_seconds = (link.ready_seconds or self._now()) if _counts(link) else None
        self._notify()

    async def close(self) -> None:
        """End all streams."""
        tasks = [link.task for link in self._links.values() if link.task is not None]
        for link in self._links.values():
            self._end(link)
        self._links.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    def heard(self) -> Heard:
        """What waits now, and present rates, over all gateways."""
        links, now = self._links.values(), self._now()
        waiting = _waiting(links, now)
        return Heard(waiting, _rates(links, now), None if waiting or not self.hears_all() else self._unsure_seconds)

    def waiting(self) -> dict[str, core.Waiting]:
        """What waits now, over all gateways."""
        return _waiting(self._links.values(), self._now())

    def silent(self) -> tuple[str, ...]:
        """The ready gateways that have not counted for a while: what they are asked is not known."""
        late = self._now() - SILENT_SECONDS
        return tuple(sorted(link.view.name for link in self._links.values() if link.quiet_before(late)))

    def hears_all(self) -> bool:
        """Whether what is asked of the pool is known: there are ready gateways, and all of them count."""
        return any(_counts(link) for link in self._links.values()) and not self.silent()

    def take_coverage(self, interval_seconds: float) -> bool:
        """Whether counts told of most of the last so many seconds, of every ready gateway that was there all the time.

        Coverage is counted from here on anew.
        """
        least = KNOWN_SHARE * interval_seconds
        ready = [link for link in self._links.values() if _counts(link)]
        known = any(link.covered_seconds >= least for link in ready)
        known = known and all(link.fresh or link.covered_seconds >= least for link in ready)
        for link in self._links.values():
            link.covered_seconds, link.fresh = 0.0, False
        return known

    def tell(self, message: Message) -> None:
        """Send to every gateway that is connected; the others get the whole state when they connect."""
        for link in self._links.values():
            if link.socket is not None:
                link.outbox.put_nowait(message)

    async def seen(self, pod_uid: str, version: tuple[int, int], timeout_seconds: float) -> tuple[str, ...]:
        """Wait until every ready gateway routes by this version of the pod or newer; return who does not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self._behind(pod_uid, version):
                    await self._moved.wait()
        return self._behind(pod_uid, version)

    def _behind(self, pod_uid: str, version: tuple[int, int]) -> tuple[str, ...]:
        counted = [link for link in self._links.values() if _counts(link)]
        return tuple(sorted(link.view.name for link in counted if link.seen.get(pod_uid, (-1, -1)) < version))

    def _notify(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _end(self, link: Link) -> None:
        if link.task is not None:
            link.task.cancel()

    async def _run(self, link: Link) -> None:
        failures = 0
        while True:
            try:
                async with self._open(link.view.ip) as socket:
                    failures = 0
                    await self._converse(link, socket)
            except LarderError as error:
                log.log(logging.WARNING if link.view.ready else logging.DEBUG, "%s: %s", link.view.name, error)
            finally:
                self._unsure_seconds = self._now()
                link.socket, link.outbox = None, asyncio.Queue()
            await asyncio.sleep(RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)])
            failures += 1

    async def _converse(self, link: Link, socket: Socket) -> None:
        link.socket, self._unsure_seconds = socket, self._now()
        for message in self._listener.known():
            link.outbox.put_nowait(message)
        sender = asyncio.create_task(_send(link.outbox, socket))
        receiver = asyncio.create_task(self._receive(link, socket))
        try:
            done, _ = await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (sender, receiver):
                task.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)

    async def _receive(self, link: Link, socket: Socket) -> None:
        async for message in socket.messages():
            match message:
                case Waiting():
                    link.waiting = _absolute(message, self._now())
                    self._unsure_seconds = self._now()
                    self._listener.demand_changed(link.waiting)
                case Seen(pods):
                    link.seen = pods
                    self._notify()
                case Dead(model, uid):
                    self._listener.died(model, uid)
                case Counts():
                    _count(link, message, self._now())
                    self._listener.counted(message.models)
                    used = [name for name, count in message.models.items() if _in_use(count)]
                    self._unsure_seconds = self._now() if used else self._unsure_seconds
                    self._listener.demand_changed(used)
                case _:
                    log.warning("%s says what only the operator says: %s", link.view.name, type(message).__name__)
        raise UnavailableError(f"{link.view.name} ended the demand stream")


async def _send(outbox: asyncio.Queue[Message], socket: Socket) -> None:
    while True:
        message = await outbox.get()
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await socket.send(message)
        except TimeoutError as error:
            raise UnavailableError("the gateway does not read its demand stream") from error


def _absolute(message: Waiting, now_seconds: float) -> dict[str, core.Waiting]:
    return {
        name: core.Waiting(name, w.count, now_seconds - w.oldest_age_seconds, now_seconds + w.deadline_in_seconds)
        for name, w in message.models.items()
        if w.count > 0
    }


def _waiting(links: Iterable[Link], now_seconds: float) -> dict[str, core.Waiting]:
    found: dict[str, core.Waiting] = {}
    for link in links:
        for name, waiting in link.waiting.items():
            if waiting.deadline_seconds <= now_seconds and link.socket is None:
                continue
            before = found.get(name)
            found[name] = waiting if before is None else _both(before, waiting)
    return found


def _both(one: core.Waiting, other: core.Waiting) -> core.Waiting:
    return core.Waiting(
        one.model,
        one.count + other.count,
        min(one.oldest_seconds, other.oldest_seconds),
        min(one.deadline_seconds, other.deadline_seconds),
    )


def _counts(link: Link) -> bool:
    return link.view.ready and not link.view.deleting


def _in_use(count: ModelCount) -> bool:
    return count.requests > 0 or bool(count.in_flight)


def _count(link: Link, message: Counts, now_seconds: float) -> None:
    """A connected gateway names the models that changed: the others had no request in the interval."""
    link.counted_seconds = now_seconds
    if link.asked_seconds is None or any(_in_use(count) for count in message.models.values()):
        link.asked_seconds = now_seconds
    link.covered_seconds += message.interval_seconds
    interval = max(message.interval_seconds, 1e-3)
    weight = 1.0 - math.exp(-interval / RATE_WINDOW_SECONDS)
    for name in set(link.rates) | set(message.models):
        counted = message.models.get(name)
        rate = counted.requests / interval if counted is not None else 0.0
        before = link.rates.get(name, 0.0)
        link.rates[name] = before + weight * (rate - before)
        if link.rates[name] < NEGLIGIBLE_RATE:
            del link.rates[name]


def _rates(links: Iterable[Link], now_seconds: float) -> dict[str, core.Rate]:
    """Summed over the gateways that counted lately; as old as the oldest of them."""
    found: dict[str, core.Rate] = {}
    for link in links:
        if link.counted_seconds is None or now_seconds - link.counted_seconds > RATE_AGE_SECONDS:
            continue
        for name, rate in link.rates.items():
            before = found.get(name)
            total = rate + (before.per_second if before else 0.0)
            at_seconds = min(link.counted_seconds, before.at_seconds) if before else link.counted_seconds
            found[name] = core.Rate(total, at_seconds)
    return found
