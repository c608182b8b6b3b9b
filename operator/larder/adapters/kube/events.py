"""Kubernetes Events, written in the background, repeats of one (object, action, reason) counted on one Event."""

import asyncio
import logging
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from larder.adapters.kube.client import MERGE_PATCH
from larder.adapters.kube.resources import EVENTS, Resource
from larder.api.resources import Manifest
from larder.errors import KubernetesError, LarderError

log = logging.getLogger(__name__)

SPACING_SECONDS: Final = 1.0
"""Between two writes of the same Event."""
REMEMBERED: Final = 2000
SERIES_SECONDS: Final = 600.0
"""A repeat after that long is a new Event."""
MAX_MESSAGE_LENGTH: Final = 1024


@dataclass(frozen=True, slots=True)
class Regarding:
    """What an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that happened, said in one sentence."""

    regarding: Regarding
    type: Literal["Normal", "Warning"]
    action: str
    reason: str
    message: str


@dataclass(slots=True)
class _Series:
    name: str = ""
    count: int = 0
    first_seconds: float = 0.0
    written_seconds: float = 0.0
    pending: Note | None = None


class Writer(Protocol):
    """Where Events are written."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the Event."""

    async def patch(
        self, resource: Resource, target: tuple[str, str], body: Manifest, kind: str, part: str = ""
    ) -> Manifest:
        """Count it once more."""


@dataclass(slots=True)
class Recorder:
    """`record` never waits; `run` writes. Events are help for people: what can't be written is logged and lost."""

    writer: Writer
    instance: str
    now: Callable[[], float]
    _series: OrderedDict[tuple[str, str, str], _Series] = field(default_factory=OrderedDict)
    _due: asyncio.Queue[tuple[str, str, str]] = field(default_factory=asyncio.Queue)

    def record(self, note: Note) -> None:
        """Write this soon; a repeat within the spacing is counted and its message replaces the one before."""
        key = (note.regarding.uid, note.action, note.reason)
        series = self._series.setdefault(key, _Series())
        self._series.move_to_end(key)
        if len(self._series) > REMEMBERED:
            self._series.popitem(last=False)
        series.count += 1
        if series.pending is None:
            self._due.put_nowait(key)
        series.pending = note

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                key = await self._due.get()
                series = self._series.get(key)
                if series is None:
                    continue
                wait = series.written_seconds + SPACING_SECONDS - self.now()
                if wait > 0:
                    # No longer than that, also when the clock was set back.
                    group.create_task(self._later(min(wait, SPACING_SECONDS), series))
                else:
                    await self._write(series)

    async def _later(self, wait: float, series: _Series) -> None:
        await asyncio.sleep(wait)
        await self._write(series)

    async def _write(self, series: _Series) -> None:
        note, series.pending = series.pending, None
        if note is None:
            return
        now = self.now()
        if not series.name or now - series.written_seconds > SERIES_SECONDS:
            series.name, series.count, series.first_seconds = "", 1, now
        series.written_seconds = now
        try:
            await self._send(series, note, now)
        except KubernetesError as error:
            series.name = ""
            level = logging.DEBUG if error.namespace_ends else logging.WARNING
            log.log(level, "Event %s of %s was refused: %s", note.reason, note.regarding.name, error)
        except LarderError as error:
            log.info("Event %s of %s is lost: %s", note.reason, note.regarding.name, error)

    async def _send(self, series: _Series, note: Note, now: float) -> None:
        text = note.message[:MAX_MESSAGE_LENGTH]
        if series.name:
            body = {"count": series.count, "lastTimestamp": _time(now), "message": text}
            await self.writer.patch(EVENTS, (note.regarding.namespace, series.name), body, MERGE_PATCH)
            return
        sort = zlib.crc32(f"{note.action}/{note.reason}".encode())
        name = f"{note.regarding.name}.{int(now * 1e6):x}.{sort:08x}"
        await self.writer.create(_manifest(name, note, self.instance, series.count, now))
        series.name = name


def _manifest(name: str, note: Note, instance: str, count: int, now: float) -> Manifest:
    about = note.regarding
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
        "type": note.type,
        "action": note.action,
        "reason": note.reason,
        "message": note.message[:MAX_MESSAGE_LENGTH],
        "count": count,
        "firstTimestamp": _time(now),
        "lastTimestamp": _time(now),
        "source": {"component": "larder"},
        "reportingComponent": "larder.dev/operator",
        "reportingInstance": instance,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
