import pytest

from streamd.captures.captures import Captures, Spans
from streamd.captures.packing import Packing
from streamd.captures.rings import Ring, Rings
from streamd.windows.moments import US


class Key:
    """Records of one key in whole seconds."""

    def __init__(self, before: float = 5, after: float = 2, longest: float = 60, every: float = 0) -> None:
        self.packing, self.ring = Packing(None), Ring()
        self.rings = Rings(round(before * US), 100, 10**6)
        self.captures = Captures(
            Spans(before, after, longest, every), self.rings, self.packing, "c", "readings"
        )

    def see(self, *seconds: int, flagged: tuple[int, ...] = ()) -> None:
        for at in seconds:
            at_us, ring = at * US, self.ring
            if at in flagged:
                self.captures.flag("k", ring, at_us)
            packed = self.packing.pack({"at": at}, at_us << 1 | (at in flagged))
            assert packed is not None
            if ring.low_us <= at_us <= ring.high_us:
                self.captures.add(ring, [packed])
            else:
                self.rings.add(ring, packed, at_us)

    def taken(self, most: int = 1000) -> list[int]:
        return [row["at"] for row in self.captures.rows(most)]


def test_records_behind_the_longest_time_belong_to_no_capture() -> None:
    key = Key(longest=3)
    key.see(*range(10), flagged=(0, 2))
    assert key.taken() == [0, 1, 2, 3]
    assert key.captures.begun == 1


def test_a_late_flagged_record_prolongs_the_capture_backwards() -> None:
    key = Key()
    key.see(0, 3, 7, flagged=(7,))
    assert key.taken() == [3, 7]
    key.see(5, flagged=(5,))
    assert key.taken() == [0, 5]
    key.see(1)
    assert key.taken() == [1]
    assert key.captures.begun == 1


def test_every_does_not_keep_a_flagged_record_from_prolonging_a_capture() -> None:
    key = Key(every=20)
    key.see(*range(9), 15, flagged=(0, 2, 15))
    assert key.taken() == [0, 1, 2, 3, 4]
    key.see(20, flagged=(20,))
    assert key.taken() == [15, 20]


def test_spans_that_touch_are_one_capture() -> None:
    key = Key()
    key.see(0, 7, 15, flagged=(0, 7, 15))
    rows = key.captures.rows(9)
    assert [(row["c_offset_s"], row["c_row"]) for row in rows] == [(0, 0), (7, 1), (0, 0)]


def test_a_flagged_record_far_before_the_first_one_begins_another_capture() -> None:
    key = Key(longest=2)
    key.see(0, 6, flagged=(6,))
    key.see(3, flagged=(3,))
    assert [row["c_offset_s"] for row in key.captures.rows(9)] == [0, -3, 0]
    assert key.captures.begun == 2


def test_a_flagged_record_in_the_span_of_a_capture_belongs_to_it_though_it_may_begin_none() -> None:
    key = Key(longest=2, every=60)
    key.see(6, flagged=(6,))
    assert key.captures.flag("k", key.ring, 3 * US)
    assert not key.captures.flag("k", key.ring, 0)
    assert key.captures.begun == 1


@pytest.mark.parametrize("most", range(1, 12))
def test_rows_are_made_in_parts_of_any_size(most: int) -> None:
    key = Key()
    key.see(*range(12), flagged=(5, 11))
    rows = []
    while part := key.captures.rows(most):
        assert len(part) == most or not key.captures.due
        assert len(part) <= most
        rows += part
    assert [(row["at"], row["c_row"]) for row in rows] == [(n, n) for n in range(12)]
    assert [row["at"] for row in rows if row["c_flagged"]] == [5, 11]
