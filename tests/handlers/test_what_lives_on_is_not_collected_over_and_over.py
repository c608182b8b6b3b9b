import gc
import weakref

import pytest

from larder.handlers.garbage import GROWTH, Freezer


@pytest.fixture
def freezer():
    """Every full collection takes too long for it."""
    found = Freezer(longest_seconds=0.0)
    gc.collect()
    gc.callbacks.append(found)
    yield found
    gc.callbacks.remove(found)
    gc.unfreeze()
    gc.collect()


class Node:
    def __init__(self):
        self.me = self


def test_what_survived_a_long_collection_is_looked_at_no_more(freezer):
    node = Node()
    gc.collect()
    assert freezer.whole > 0
    assert not any(found is node for found in gc.get_objects())


def test_short_collections_freeze_nothing(freezer):
    freezer.longest_seconds = 60.0
    gc.collect()
    assert gc.get_freeze_count() == 0


def test_what_is_frozen_goes_when_nothing_refers_to_it(freezer):
    node = Node()
    seen = weakref.ref(node)
    gc.collect()
    node.me = None
    del node
    assert seen() is None


def test_a_cycle_that_was_frozen_goes_with_the_whole_look_that_growth_brings(freezer):
    node = Node()
    seen = weakref.ref(node)
    gc.collect()
    del node
    gc.collect()
    assert seen() is not None
    grown = [[] for _ in range(int(GROWTH * freezer.whole))]
    for _ in range(3):
        gc.collect()
    assert seen() is None
    assert freezer.whole > len(grown)
