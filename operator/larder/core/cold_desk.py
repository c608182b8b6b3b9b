"""Cold requests decided one by one, without making the whole plan: the accounts are kept up to date instead.

The desk serves a request by the same function as the plan does, on the same accounts, so that it decides what the
full plan would for a snapshot in which only this model waits. One desk lives from one full snapshot to the next.
"""

from larder.core.books import open_books
from larder.core.eviction import shelf
from larder.core.placing import Draft
from larder.core.plan import Plan
from larder.core.planner import serve
from larder.core.snapshot import Placement, Snapshot, Waiting


class ColdDesk:
    """The accounts of one pool between two full plans."""

    def __init__(self, snapshot: Snapshot, now_seconds: float) -> None:
        self._draft = Draft(open_books(snapshot), now_seconds)
        for pod in self._draft.books.pods.values():
            shelf(self._draft.books, pod, now_seconds)

    def change(self, before: Placement | None, after: Placement | None) -> None:
        """Take in that one placement appeared, moved on or vanished; it must not be one that `decide` booked."""
        self._draft.books.change(before, after)

    def decide(self, held: Waiting, now_seconds: float) -> Plan:
        """Actions for one model that is waited for. Loads and drains are booked as begun."""
        draft, books = self._draft, self._draft.books
        draft.actions, draft.unplaced, draft.refused, draft.now_seconds = [], [], set(), now_seconds
        draft.awaited, draft.crowded = set(), set()
        model = books.snapshot.models.get(held.model)
        if model is not None and not model.deleted and held.count > 0 and not books.answering_copies(model.name):
            serve(draft, model, held)
        return Plan(tuple(draft.actions), 0, tuple(draft.unplaced))
