import gc
import weakref
from collections.abc import Iterator

import pytest

from streamd.service.garbage import WHOLE_S, Garbage


class Node:
    """An object that can be in a cycle."""

    def __init__(self) -> None:
        self.itself: Node | None = None


def cycle() -> Node:
    node = Node()
    node.itself = node
    return node


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_cycles_that_have_become_garbage_since_the_last_time_are_collected() -> None:
    garbage = Garbage(100.0)
    garbage.collect(100.0)
    node = weakref.ref(cycle())
    assert node() is not None
    garbage.collect(105.0)
    assert node() is None


def test_the_first_collection_visits_all_objects() -> None:
    node = weakref.ref(cycle())
    Garbage(100.0).collect(100.0)
    assert node() is None
    assert gc.get_freeze_count() > 0


def test_cycles_that_were_alive_at_a_collection_are_collected_within_the_longer_time() -> None:
    garbage = Garbage(100.0)
    garbage.collect(100.0)
    alive = cycle()
    node = weakref.ref(alive)
    garbage.collect(105.0)
    del alive
    garbage.collect(100.0 + WHOLE_S - 1)
    assert node() is not None
    garbage.collect(100.0 + WHOLE_S)
    assert node() is None
    assert gc.get_freeze_count() > 0


def test_a_collection_does_not_visit_the_objects_of_the_last_one() -> None:
    garbage = Garbage(100.0)
    garbage.collect(100.0)
    kept = [cycle() for _ in range(1000)]
    garbage.collect(105.0)
    assert len(gc.get_objects()) < len(kept)
    assert gc.get_threshold() == (50_000, 20, 1_000_000)
