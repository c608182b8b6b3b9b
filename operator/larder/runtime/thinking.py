"""What one round makes of a pool: gather, forecast, plan. Of a large pool beside the event loop, from a photograph.

A photograph is all that a plan is made of, at one moment, in copies: the loop goes on changing the originals.
What is decided from it is checked against the present when it is applied.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from larder.api.resources import Model, ModelPool
from larder.core.cold_desk import ColdDesk
from larder.core.plan import Plan
from larder.core.planner import plan
from larder.core.snapshot import Snapshot
from larder.runtime.books import Books, PodBook
from larder.runtime.forecasts import Forecasts
from larder.runtime.gather import Asked, Heard, Kept, gather, models_of
from larder.runtime.state import PoolState

BESIDE_FROM_MODELS: Final = 1000
"""From so many models on a plan takes longer than the event loop may be held."""


@dataclass(frozen=True, slots=True)
class Since:
    """Since when, in Unix seconds, the number of pods is the same, and all that is asked is known; None: not known."""

    scaled_seconds: float | None
    known_seconds: float | None


@dataclass(frozen=True, slots=True)
class Photograph:
    """One pool at one moment."""

    pool: ModelPool
    serving: Mapping[str, Model]
    books: Books
    heard: Heard
    asked: Asked
    since: Since
    forecasts: Forecasts
    kept: Kept
    now_seconds: float


@dataclass(frozen=True, slots=True)
class Thought:
    """What was made of it. `desk` decides what is asked for until there is a newer one; None: a plan takes no time."""

    snapshot: Snapshot
    plan: Plan
    books: Books
    desk: ColdDesk | None = None


async def think(state: PoolState, asked: Asked, since: Since) -> Thought:
    """Plan for the present."""
    if len(state.declared.serving) < BESIDE_FROM_MODELS:
        return _think(_photograph(state, state.books, state.forecasts, asked, since))
    forecasts = state.forecasts.copied()
    photograph = _photograph(state, _copied(state.books), forecasts, asked, since)
    thought = await asyncio.to_thread(_think_ahead, photograph)
    state.forecasts.take_over(forecasts)
    return thought


def _photograph(state: PoolState, books: Books, forecasts: Forecasts, asked: Asked, since: Since) -> Photograph:
    return Photograph(
        state.pool,
        state.declared.serving,
        books,
        state.gateways.heard(),
        asked,
        since,
        forecasts,
        state.kept_models,
        state.clock.unix(),
    )


def _copied(books: Books) -> Books:
    """The books, as they will stay while others change: what single models taught is read while it may change."""
    return replace(books, pods={name: _copied_pod(book) for name, book in books.pods.items()}, models={**books.models})


def _copied_pod(book: PodBook) -> PodBook:
    return replace(
        book,
        placements={**book.placements},
        unmanaged={**book.unmanaged},
        reloading={**book.reloading},
        changing={*book.changing},
    )


def _think(seen: Photograph) -> Thought:
    models = models_of(seen.pool, seen.serving, seen.books, kept=seen.kept)
    gathered = gather(seen.pool, models, seen.books, seen.heard, seen.asked)
    snapshot = replace(
        seen.forecasts.expected(gathered, seen.now_seconds).onto(gathered),
        scaled_at_seconds=seen.since.scaled_seconds,
        known_since_seconds=seen.since.known_seconds,
    )
    decided = plan(snapshot, seen.now_seconds)
    seen.forecasts.judge(snapshot)
    return Thought(snapshot, decided, seen.books)


def _think_ahead(seen: Photograph) -> Thought:
    thought = _think(seen)
    return replace(thought, desk=ColdDesk(thought.snapshot, seen.now_seconds))
