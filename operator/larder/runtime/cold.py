"""Cold requests of a large pool, decided at once: a full plan takes too long to wait for.

The desk that the last full plan left is brought up to date with the books and decides for one model after the other.
What it decides is applied like a plan. What a full plan decides that was overtaken meanwhile is left out.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from larder.core.cold_desk import ColdDesk
from larder.core.plan import Action, Drain, Load, Plan, Reason
from larder.core.snapshot import Placement, PlacementState, Waiting
from larder.runtime.books import PodBook
from larder.runtime.gather import Sizes, planned
from larder.runtime.state import PoolState
from larder.runtime.thinking import Thought

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 3
"""Decisions in one turn of the event loop."""

_COMING: Final = (PlacementState.LOADING, PlacementState.READY)

Carry = Callable[[Plan], tuple[Action, ...]]
"""Applies a plan; returns what was begun."""


@dataclass(slots=True)
class ColdRequests:
    """One pool. Nothing is decided here until a full plan of a large pool was made, nor where the desk was wrong."""

    state: PoolState
    carry: Carry
    _desk: ColdDesk | None = None
    _placed: dict[str, Mapping[str, Placement]] = field(default_factory=dict)
    """By pod, the books' placements as the desk knows them."""
    _in_vain: set[str] = field(default_factory=set)
    """Models for which nothing can be done until something leaves or a load ends."""

    def renew(self, thought: Thought) -> None:
        """Go on from a full plan, keeping what is kept for models that still wait."""
        kept = self._desk.kept if self._desk is not None else {}
        self._desk, self._in_vain = thought.desk, set()
        self._placed = {name: book.placements for name, book in thought.books.pods.items()}
        if self._desk is None:
            return
        self._follow(self._desk)
        waiting = self.state.gateways.waiting()
        for model, pod in kept.items():
            if model in waiting and not self._is_seen_to(model):
                self._desk.keep(model, pod)

    def decide(self) -> bool:
        """Decide for some of what waits; return whether more is left to decide."""
        desk = self._desk
        if desk is None:
            return False
        waiting = self.state.gateways.waiting()
        self._follow(desk)
        due = [held for name, held in waiting.items() if name not in self._in_vain and self._is_due(name)]
        due.sort(key=lambda held: held.oldest_seconds)
        for held in due[:MOST_AT_ONCE]:
            if not self._serve(desk, held):
                log.debug("what the desk decided for %s does not hold; the next plan decides", held.model)
                self._desk = None
                return False
        return len(due) > MOST_AT_ONCE

    def without_overtaken(self, decided: Plan) -> tuple[Action, ...]:
        """The plan's actions without those for models that were seen to meanwhile."""
        return tuple(action for action in decided.actions if not self._is_overtaken(action))

    def begun(self, actions: tuple[Action, ...]) -> None:
        """A full plan's actions began: keep what they free for whom they free it."""
        if self._desk is None:
            return
        self._follow(self._desk)
        for action in actions:
            if isinstance(action, Drain) and action.for_model is not None and not self._is_seen_to(action.for_model):
                self._desk.keep(action.for_model, action.pod)

    def _serve(self, desk: ColdDesk, held: Waiting) -> bool:
        """Decide for one model; False where what was decided does not hold."""
        decided = desk.decide(held, self.state.clock.unix())
        self._in_vain.add(held.model)
        return not decided.actions or self.carry(decided) == decided.actions

    def _is_due(self, model: str) -> bool:
        failing = self.state.books.known(model).failure is not None
        return model in self.state.declared.serving and not failing and not self._is_seen_to(model)

    def _is_seen_to(self, model: str) -> bool:
        """Whether a copy answers, or comes."""
        return any(
            model in book.placements and book.placements[model].state in _COMING
            for book in self.state.books.pods.values()
            if book.is_reached and not book.view.deleting
        )

    def _is_overtaken(self, action: Action) -> bool:
        if self._desk is None:
            return False
        if isinstance(action, Load):
            return action.reason is Reason.COLD_REQUEST and self._is_seen_to(action.model)
        if isinstance(action, Drain) and action.for_model is not None:
            elsewhere = self._desk.kept.get(action.for_model, action.pod) != action.pod
            return elsewhere or self._is_seen_to(action.for_model)
        return False

    def _follow(self, desk: ColdDesk) -> None:
        """Bring the desk up to date with the books. What leaves, and a load that ends, may help those that wait."""
        sizes = self.state.sizes
        for name, book in self.state.books.pods.items():
            known = self._placed.get(name, {})
            if known == book.placements:
                continue
            for model in known.keys() | book.placements.keys():
                before, present = known.get(model), book.placements.get(model)
                if before != present:
                    desk.follow(model, name, None if present is None else self._planned(sizes, book, present))
                    self._in_vain = set() if before is not None else self._in_vain
            self._placed[name] = {**book.placements}

    def _planned(self, sizes: Sizes, book: PodBook, placement: Placement) -> Placement:
        return planned(book, placement, sizes.counted_bytes(placement), self.state.books.known(placement.model))
