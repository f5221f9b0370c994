import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streamd.logs.rate_limit import BURST, MAX_KINDS, START_UP, RateLimit


class Ticking:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 5)), max_size=500))
def test_let_through_and_held_back_are_all_that_were_asked(calls: list[tuple[int, float]]) -> None:
    clock = Ticking()
    limit = RateLimit(clock)
    through = told = 0
    for kind, later_s in calls:
        clock.now_s += later_s
        suppressed = limit.admit(f"kind {kind}")
        if suppressed is not None:
            through += 1
            told += suppressed
    assert through + told + sum(limit.take_suppressed().values()) == len(calls)


def test_the_memory_for_kinds_is_bounded_and_strangers_share_one_allowance() -> None:
    limit = RateLimit(Ticking())
    admitted = [limit.admit(f"kind {n}") for n in range(10_000)]
    assert admitted.count(0) == MAX_KINDS + BURST
    assert limit.take_suppressed() == {"(other kinds)": 10_000 - MAX_KINDS - BURST}


@pytest.mark.parametrize("event", sorted(START_UP))
def test_each_part_that_starts_is_told_however_many_there_are(event: str) -> None:
    limit = RateLimit(Ticking())
    for n in range(10 * BURST):
        assert limit(None, "info", {"event": event, "source": n}) == {"event": event, "source": n}
    assert limit.take_suppressed() == {}


def test_start_up_lines_take_nothing_from_the_allowance_of_others() -> None:
    limit = RateLimit(Ticking())
    for n in range(10 * BURST):
        limit(None, "info", {"event": "listening", "source": n})
    assert [limit.admit("framing_error") for _ in range(BURST)] == [0] * BURST
    with pytest.raises(structlog.DropEvent):
        limit(None, "info", {"event": "framing_error"})
