"""What the pods of one pool really take: follows their meters, keeps each pod's ledger, and applies what it teaches.

A pod whose meter is away is planned with the sizes that are known, and nothing of what was withheld there is free.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from larder.api import names
from larder.api.metering import ContainerUse, Reading
from larder.api.quantities import parse_bytes
from larder.api.resources import ModelPool
from larder.core import metering as core
from larder.core.snapshot import PlacementState
from larder.core.units import format_bytes
from larder.errors import InvalidInputError, LarderError
from larder.runtime.books import PodBook, resized
from larder.runtime.gather import capacity_bytes, withheld_bytes
from larder.runtime.healing import Judged, begin_restart
from larder.runtime.state import PoolState

log = logging.getLogger(__name__)

RECONNECT_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
KILL_SECONDS: Final = 2.0
"""A process that is gone so soon after the kernel ended one for want of memory was that one."""
NEAR_LIMIT_SHARE: Final = 0.5
"""Of the container's limit: what was seen taken before such an end, at least."""
LEAK_SHARE: Final = 0.5
"""Of what models may take: a pod whose unloads did not give back more takes no models any more."""


class Meter(Protocol):
    """The meter of one pod."""

    def readings(self) -> AsyncIterator[Reading]:
        """Yield readings until it is lost."""

    async def read(self) -> Reading:
        """Return a reading taken after this call began."""


Opener = Callable[[str], AbstractAsyncContextManager[Meter]]
"""Opens the meter of the pod with this address."""


@dataclass(slots=True)
class Link:
    """One pod's meter and what it said last. `asked`: a reading after a change is on its way."""

    book: PodBook
    task: asyncio.Task[None] | None = None
    meter: Meter | None = None
    asked: bool = False
    sequence: int = -1
    own: Mapping[str, int] = field(default_factory=dict)
    kills: int | None = None
    killed_seconds: float = float("-inf")
    most_bytes: int = 0
    grown: tuple[str, float] | None = None
    heard_seconds: float = 0.0


class Metering:
    """All meters of one pool. `look` is called in every round, and after everything that begins a change."""

    def __init__(self, state: PoolState, open_meter: Opener) -> None:
        self._state = state
        self._open = open_meter
        self._links: dict[str, Link] = {}

    def look(self) -> None:
        """Follow exactly the pods there are, note what is changing, and have read what has changed."""
        books = {book.view.uid: book for book in self._state.books.pods.values() if book.is_adopted and book.view.ip}
        for uid in [uid for uid in self._links if self._links[uid].book is not books.get(uid)]:
            self._end(self._links.pop(uid))
        for uid, book in books.items():
            link = self._links.get(uid)
            if link is None:
                link = self._links[uid] = Link(book)
                link.task = self._state.tasks.spawn(self._run(link), f"meter of {book.view.name}")
            self._watch(link)

    def changed(self, book: PodBook) -> None:
        """A change begins on this pod."""
        if (link := self._links.get(book.view.uid)) is not None:
            self._watch(link)

    def container_ended(self, book: PodBook, for_memory: bool) -> None:
        """The container is another one. Where the kernel ended it for want of memory, learn whose that was."""
        link = self._links.pop(book.view.uid, None)
        if link is None:
            return
        self._end(link)
        if not for_memory:
            return
        standing = self._state.sizes.standings(book)
        loading = [name for name, p in book.placements.items() if p.state is PlacementState.LOADING]
        counted = {name: standing[name].counted_bytes for name in standing}
        name = loading[0] if len(loading) == 1 else _grown_last(link)
        if name is None:
            log.info("%s was ended for want of memory; whose it was is not known", book.view.name)
            return
        others = [self._state.pool.memory.base_bytes, *(size for other, size in counted.items() if other != name)]
        self._too_much(book, name, core.killed_at_bytes(link.own.get(name), memory_limit(self._state.pool), others))

    async def close(self) -> None:
        """End all."""
        for link in self._links.values():
            self._end(link)
        self._links.clear()

    def _end(self, link: Link) -> None:
        link.book.is_metered, link.meter = False, None
        if link.task is not None:
            link.task.cancel()

    async def _run(self, link: Link) -> None:
        failures = 0
        while True:
            try:
                async with self._open(link.book.view.ip) as meter:
                    link.meter = meter
                    try:
                        async for reading in meter.readings():
                            failures = 0
                            self._heard(link, reading, asked=False)
                    finally:
                        link.meter = None
            except LarderError as error:
                link.book.meter_error = f"Pod {link.book.view.name}: {error}"
                log.info("%s", link.book.meter_error)
                self._state.wake()
            finally:
                self._lost(link)
            await asyncio.sleep(RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)])
            failures += 1

    def _lost(self, link: Link) -> None:
        """What was withheld stays withheld; the ledger begins anew with the next reading, whatever its number."""
        book = link.book
        book.withheld_bytes = withheld_bytes(book, self._state.sizes.standings(book))
        book.ledger, book.is_metered, book.measuring = core.Ledger(), False, ""
        link.meter, link.sequence, link.asked, link.own, link.kills = None, -1, False, {}, None

    def _watch(self, link: Link) -> None:
        book, standing = link.book, self._state.sizes.standings(link.book)
        book.ledger = core.watch(book.ledger, standing)
        changing = any(one.is_changing for one in standing.values())
        if book.ledger.touched and not changing and not link.asked and link.meter is not None:
            link.asked = True
            self._state.tasks.spawn(self._ask(link, link.meter), f"read memory of {book.view.name}")

    async def _ask(self, link: Link, meter: Meter) -> None:
        placed = dict(link.book.placements)
        try:
            reading = await meter.read()
            # What moved on meanwhile makes it neither a reading before nor one after: the next round asks again.
            if link.meter is meter and placed == link.book.placements:
                self._heard(link, reading, asked=True)
        except LarderError as error:
            log.info("%s: %s", link.book.view.name, error)
        finally:
            link.asked, link.book.measuring = False, ""
            self._state.wake()

    def _heard(self, link: Link, reading: Reading, asked: bool) -> None:
        book = link.book
        if reading.sequence <= link.sequence or not book.is_adopted:
            return
        link.sequence = reading.sequence
        use = _use(reading, book.adopted)
        if use is None:
            return
        total = use.total_bytes + reading.shared_bytes
        self._look_for_kills(link, use, reading.kills, total)
        standing = self._state.sizes.standings(book)
        book.ledger = core.watch(book.ledger, standing)
        if asked or not book.ledger.touched or any(one.is_changing for one in standing.values()):
            self._take(link, use, total)
        else:
            # It may have been taken before the change ended.
            self._state.wake()

    def _take(self, link: Link, use: ContainerUse, total_bytes: int) -> None:
        book, state = link.book, self._state
        base = state.pool.memory.base_bytes + sum(book.unmanaged.values())
        sample = core.Sample(total_bytes, base, state.clock.unix(), use.models)
        standing, models = self._state.sizes.standings(book), state.books.models
        before = withheld_bytes(book, standing)
        used = {name: models[name].last_used_seconds or 0.0 for name in standing if name in models}
        book.ledger, lessons = core.take(book.ledger, standing, sample, used)
        first, book.is_metered, book.meter_error = not book.is_metered, True, ""
        link.heard_seconds = sample.at_seconds
        for lesson in lessons:
            if not lesson.whole:
                link.grown = (lesson.model, sample.at_seconds)
            self._apply(book, lesson)
        self._look_for_leak(book)
        after = withheld_bytes(book, self._state.sizes.standings(book))
        if (
            first
            or lessons
            or abs(after - before) > core.NOISE_BYTES
            or total_bytes - base > capacity_bytes(state.pool)
        ):
            state.wake()

    def _apply(self, book: PodBook, lesson: core.Lesson) -> None:
        """Take over a size. What an ensemble took with members that it pulled in is not told apart.

        What a model grew to counts at most as a whole pod: one request too many must not keep it away for ever.
        """
        known, placement = self._state.books.model(lesson.model), book.placements.get(lesson.model)
        if placement is None or (lesson.whole and known.members):
            return
        before, now = known.footprint, self._state.clock.unix()
        size = lesson.size_bytes if lesson.whole else min(lesson.size_bytes, capacity_bytes(self._state.pool))
        known.footprint = resized(before, size, placement.revision, now, lesson.whole)
        size, planned = known.footprint.size_bytes, placement.memory_bytes if before is None else before.size_bytes
        if size > planned or (before is None and planned - size > core.NOISE_BYTES):
            text = f"{lesson.model} takes {format_bytes(size)} on {book.view.name}, as measured"
            text = f"{text}; planned with {format_bytes(planned)} before"
            self._state.report.measured(self._state.model(lesson.model), text)

    def _look_for_leak(self, book: PodBook) -> None:
        """Unloads that did not give back a good part of what models may take close the pod for loads."""
        lost, most = book.ledger.unreturned_bytes, LEAK_SHARE * capacity_bytes(self._state.pool)
        if not book.ledger.steady:
            return
        if lost <= most:
            book.unreturned = ""
        elif not book.unreturned:
            text = f"unloads did not give back {format_bytes(lost)}; nothing is loaded there"
            book.unreturned = f"Pod {book.view.name}: {text}"
            self._state.report.warn("Unload", "Leaking", book.unreturned)

    def _look_for_kills(self, link: Link, use: ContainerUse, kills: int | None, total_bytes: int) -> None:
        """The process of a model that is gone when the kernel ended one for want of memory was that one."""
        now = self._state.clock.monotonic()
        if kills is not None and link.kills is not None and kills > link.kills:
            link.killed_seconds = now
        gone = [name for name in link.own if name not in use.models]
        ended = {name: link.book.ended.get(name, now) for name in (*link.book.ended, *gone)}
        link.book.ended = {name: since for name, since in ended.items() if name not in use.models}
        limit = memory_limit(self._state.pool)
        near = limit is None or link.most_bytes > NEAR_LIMIT_SHARE * limit
        if near and now - link.killed_seconds <= KILL_SECONDS:
            for name in gone:
                self._killed(link, name, total_bytes)
        link.most_bytes = (
            max(total_bytes, link.most_bytes) if now - link.killed_seconds <= KILL_SECONDS else total_bytes
        )
        link.own, link.kills = use.models, kills

    def _killed(self, link: Link, model: str, others_bytes: int) -> None:
        book, placement = link.book, link.book.placements.get(model)
        if placement is None or placement.state is PlacementState.UNLOADING:
            return
        limit = memory_limit(self._state.pool)
        self._too_much(book, model, core.killed_at_bytes(link.own.get(model), limit, [others_bytes]))
        if placement.state is PlacementState.READY and model not in book.changing:
            why = f"the kernel ended {model} on {book.view.name} for want of memory"
            begin_restart(self._state, book, model, Judged(why))

    def _too_much(self, book: PodBook, model: str, bytes_then: int | None) -> None:
        if bytes_then is not None:
            self._apply(book, core.Lesson(model, bytes_then))


def _grown_last(link: Link) -> str | None:
    """The model that was seen to grow right before a container's last reading; None where none was."""
    if link.grown is None or link.heard_seconds - link.grown[1] > KILL_SECONDS:
        return None
    return link.grown[0]


def _use(reading: Reading, container_id: str) -> ContainerUse | None:
    """What the container with this id takes; None where the meter does not see it."""
    return reading.containers.get(container_id.rpartition("/")[2]) or reading.containers.get("")


def memory_limit(pool: ModelPool) -> int | None:
    """The memory at which the kernel ends what runs in a Triton container; None: there is no such limit, or a GPU's."""
    told = (pool.template.resources.get("limits") or {}).get("memory")
    if told is None or pool.template.has_gpu:
        return None
    try:
        return parse_bytes("spec.template.resources.limits.memory", told)
    except InvalidInputError:
        return None


def meter_address(pool: ModelPool, ip: str) -> str:
    """Where a pod's memory is read: on a GPU from Triton's own metrics, else from the meter beside it."""
    return f"{ip}:{names.METRICS_PORT if pool.template.has_gpu else names.METER_PORT}"
