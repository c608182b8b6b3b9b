"""All that one pool's loop and its tasks share while this replica leads. One event loop, no locks."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from larder.adapters.triton import Execution, IndexEntry
from larder.api import names
from larder.api.resources import Model, ModelPool
from larder.runtime.books import Books, PodBook
from larder.runtime.declared import Declared
from larder.runtime.forecasts import Forecasts
from larder.runtime.gateways import Gateways
from larder.runtime.gather import Kept, Sizes
from larder.runtime.leadership import Fence
from larder.runtime.pods import PodView
from larder.runtime.publish import Publisher
from larder.runtime.report import Reporter
from larder.runtime.tasks import Tasks

CALL_SECONDS: Final = 5.0
"""For calls that Triton answers at once."""


class Control(Protocol):
    """Control of one Triton server."""

    async def load(self, model: str, timeout_seconds: float) -> None:
        """Load; returns when the model is ready."""

    async def unload(self, model: str, timeout_seconds: float) -> None:
        """Start unloading."""

    async def index(self, timeout_seconds: float) -> Mapping[str, IndexEntry]:
        """Return the whole index."""

    async def members(self, model: str, timeout_seconds: float) -> tuple[str, ...]:
        """Return the members of an ensemble."""

    async def statistics(self, timeout_seconds: float) -> Mapping[str, Execution]:
        """Return the counters of resident models."""

    async def counted(self, timeout_seconds: float) -> frozenset[str] | None:
        """Return the models that the metrics have counters of; None: they tell nothing."""

    async def close(self) -> None:
        """Close the channel."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Unix time for people and for the planner, a monotonic clock for durations."""

    unix: Callable[[], float]
    monotonic: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Timings:
    """Bounds and pauses in seconds, at hand for tests."""

    drain_acknowledged: float = 2.0
    index_pauses: tuple[float, ...] = tuple(min(1.0, 0.004 * 1.2**turn) for turn in range(32))
    leaking_pause: float = 5.0
    settle: float = 0.1
    resync: float = 30.0
    look_ahead: float = 5.0
    metrics: float = 30.0
    status: float = 1.0
    statistics: float = 5.0
    dead_unload: float = 3.0
    reapply: float = 300.0
    trouble: float = 5.0
    members_pause: float = 0.5
    forecast_interval: float = 60.0
    warm: float = 300.0
    """So long a new pod waits, before it counts as ready, for models that are worth having there."""


INDEXES_AT_ONCE: Final = 16
"""Whole indexes of a large repository are large: so many are read at a time."""
LEARNING_AT_ONCE: Final = 4


@dataclass(slots=True)
class Controls:
    """One control connection a pod, opened when first needed."""

    open: Callable[[str], Control]
    indexes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(INDEXES_AT_ONCE))
    """Held while a pod that is taken over is asked for its index."""
    learning: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LEARNING_AT_ONCE))
    """Held while a pod that was taken over is asked for each of its models."""
    _open: dict[str, tuple[str, Control]] = field(default_factory=dict)

    def of(self, view: PodView) -> Control:
        """The control of this pod."""
        known = self._open.get(view.uid)
        if known is None or known[0] != view.ip:
            known = (view.ip, self.open(f"{view.ip}:{names.GRPC_PORT}"))
            self._open[view.uid] = known
        return known[1]

    async def forget(self, pod_uid: str) -> None:
        """Close the connection to a pod that is gone."""
        known = self._open.pop(pod_uid, None)
        if known is not None:
            await known[1].close()

    async def close(self) -> None:
        """Close all."""
        for uid in list(self._open):
            await self.forget(uid)


@dataclass(slots=True)
class PoolState:
    """One pool. `pool` and `declared` are replaced when their objects change."""

    pool: ModelPool
    declared: Declared
    books: Books
    gateways: Gateways
    forecasts: Forecasts
    publisher: Publisher
    controls: Controls
    fence: Fence
    clock: Clock
    timings: Timings
    tasks: Tasks
    report: Reporter
    wake: Callable[[], None]
    kept_models: Kept = field(default_factory=dict)
    """For the one plan that is made at a time."""

    def control(self, book: PodBook) -> Control:
        """The control of the book's pod."""
        return self.controls.of(book.view)

    @property
    def sizes(self) -> Sizes:
        """What Models count with now."""
        return Sizes(self.pool, self.declared.serving, self.books)

    def model(self, served_name: str) -> Model | None:
        """The Model that declares this name."""
        return self.declared.serving.get(served_name)
