"""Cold requests decided one by one, without making the whole plan: the accounts are kept up to date instead.

The desk serves a request by the same function as the plan does, on the same accounts, so that it decides what the
full plan would for a snapshot in which only this model waits. One desk lives from one full snapshot to the next.
"""

from dataclasses import replace

from larder.core.books import open_books
from larder.core.eviction import shelf
from larder.core.placing import Draft
from larder.core.plan import Drain, Load, Plan
from larder.core.planner import serve
from larder.core.snapshot import Placement, PlacementState, Snapshot, Waiting


class ColdDesk:
    """The accounts of one pool between two full plans."""

    def __init__(self, snapshot: Snapshot, now_seconds: float) -> None:
        self._draft = Draft(open_books(snapshot), now_seconds)
        self._placed = {(p.model, p.pod): p for p in snapshot.placements}
        self._kept: dict[str, tuple[str, int]] = {}
        for pod in self._draft.books.pods.values():
            shelf(self._draft.books, pod, now_seconds)

    @property
    def kept(self) -> dict[str, str]:
        """The models for which memory that is on its way out is kept, and the pod."""
        return {model: pod for model, (pod, _) in self._kept.items()}

    def follow(self, model: str, pod: str, present: Placement | None) -> None:
        """Take in how a placement stands now, be it that `decide` booked it; None: it is gone."""
        before = self._placed.pop((model, pod), None)
        self._draft.books.change(before, present)
        if present is not None:
            self._placed[model, pod] = present

    def keep(self, model: str, pod: str) -> None:
        """Keep memory on a pod for a model, as was decided elsewhere."""
        books = self._draft.books
        known, where = books.snapshot.models.get(model), books.pods.get(pod)
        if known is not None and where is not None and model not in self._kept:
            self._kept[model] = (pod, books.size_bytes(known))
            books.reserve(where, books.size_bytes(known))

    def release(self, model: str) -> None:
        """Keep nothing for this model any more."""
        pod, size_bytes = self._kept.pop(model, ("", 0))
        if pod:
            self._draft.books.release(self._draft.books.pods[pod], size_bytes)

    def decide(self, held: Waiting, now_seconds: float) -> Plan:
        """Actions for one model that is waited for. Loads and drains are booked as begun."""
        self.release(held.model)
        draft, books = self._draft, self._draft.books
        draft.actions, draft.unplaced, draft.refused, draft.now_seconds = [], [], set(), now_seconds
        draft.awaited, draft.crowded = {}, set()
        model = books.snapshot.models.get(held.model)
        if model is not None and not model.deleted and held.count > 0 and not books.answering_copies(model.name):
            serve(draft, model, held)
            self._note(model.name, books.size_bytes(model))
        return Plan(tuple(draft.actions), 0, tuple(draft.unplaced))

    def _note(self, model: str, size_bytes: int) -> None:
        """Remember what was booked, as it will be seen to stand."""
        draft = self._draft
        if model in draft.awaited:
            self._kept[model] = (draft.awaited[model].pod.name, size_bytes)
        for action in draft.actions:
            if isinstance(action, Load):
                copies = draft.books.copies[action.model]
                self._placed[action.model, action.pod] = next(c for c in copies if c.pod == action.pod)
            elif isinstance(action, Drain):
                at = (action.model, action.pod)
                self._placed[at] = replace(self._placed[at], state=PlacementState.DRAINING)
