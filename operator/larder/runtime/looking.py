"""Looks at the present, of no more of a pool than is asked about: a whole snapshot of a large one takes too long."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from larder.core.plan import Action, Drain, Load, Unload
from larder.core.snapshot import PlacementState, Snapshot, Waiting
from larder.runtime.books import Books
from larder.runtime.gather import Asked, Heard, gather, models_of
from larder.runtime.state import PoolState


def look_at_action(state: PoolState, action: Action, asked: Asked) -> Snapshot:
    """What an action touches: its pod, and every pod that has its model or the one it makes room for.

    An action about the number of pods touches them all.
    """
    if isinstance(action, Load | Drain | Unload):
        named = {action.model, *([action.for_model] if isinstance(action, Drain) and action.for_model else [])}
        pods = [n for n, b in state.books.pods.items() if n == action.pod or not named.isdisjoint(b.placements)]
        return _look(state, _only(state.books, pods), named, asked, Heard())
    return _look(state, state.books, (), asked, Heard())


def look_at_waiting(state: PoolState, waiting: Mapping[str, Waiting], asked: Asked) -> Snapshot:
    """All pods, of their placements those of models that are waited for, and whatever loads."""
    books = state.books
    pods = {
        name: replace(
            book,
            placements={
                model: placement
                for model, placement in book.placements.items()
                if model in waiting or placement.state is PlacementState.LOADING
            },
        )
        for name, book in books.pods.items()
    }
    return _look(state, replace(books, pods=pods), waiting, asked, Heard(waiting))


def _only(books: Books, pods: Iterable[str]) -> Books:
    return replace(books, pods={name: books.pods[name] for name in pods})


def _look(state: PoolState, books: Books, named: Iterable[str], asked: Asked, heard: Heard) -> Snapshot:
    names = {*named, *(placement.model for placement in books.placements())}
    return gather(state.pool, models_of(state.pool, state.declared.serving, books, names), books, heard, asked)
