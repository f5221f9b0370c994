import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.captures.packing import MOST_NAME_CHARACTERS, MOST_SHAPES, Packing, mark_of

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=9)
    | st.lists(st.none() | st.integers(0, 3), max_size=3)
)
RECORDS = st.dictionaries(
    st.text(max_size=5), VALUES | st.dictionaries(st.text(max_size=2), VALUES), max_size=20
)


@given(records=st.lists(RECORDS, max_size=5), mark=st.integers(-(2**63), 2**63 - 1))
def test_a_packed_record_is_the_same_again_in_every_type_and_order(records: Any, mark: int) -> None:
    packing, other = Packing(None), Packing(None)
    packed = [packing.pack(record, mark) for record in records]
    other.restore(packing.shapes)
    for one, record in zip(packed, records, strict=True):
        assert one is not None
        assert mark_of(one) == mark
        for found in (packing.unpack(one), other.unpack(one)):
            assert list(map(repr, found.items())) == list(map(repr, record.items()))


def test_names_are_stored_once_for_all_records_that_have_them() -> None:
    packing = Packing(None)
    sizes = [len(packing.pack({"temperature": n, "humidity": n}, n) or b"") for n in range(100)]
    assert packing.shapes == [("temperature", "humidity")]
    assert max(sizes) == 12


def test_shapes_are_bounded_and_beyond_the_bound_a_record_holds_its_names() -> None:
    packing = Packing(None)
    records: list[dict[str, Any]] = [{f"n{n}": n} for n in range(MOST_SHAPES + 50)]
    records.insert(0, {"x" * (MOST_NAME_CHARACTERS + 1): 1})
    packed = [packing.pack(record, 7) for record in records]
    assert packing.shapes == [(f"n{n}",) for n in range(MOST_SHAPES)]
    assert [packing.unpack(one or b"") for one in packed] == records


def test_chosen_names_are_stored_with_null_for_those_that_are_missing() -> None:
    packing = Packing(["a", "b"])
    assert packing.unpack(packing.pack({"b": 2, "c": 3}, 1) or b"") == {"a": None, "b": 2}
    assert packing.shapes == []
    assert len(packing.pack({"a": 1, "b": 2}, 1) or b"") == 11


@pytest.mark.parametrize("names", [None, ["v"]])
@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", object(), {1j: 1}, [[2**70]]])
def test_a_value_that_cannot_be_stored_makes_no_packed_record(names: Any, value: Any) -> None:
    assert Packing(names).pack({"v": value}, 1) is None


def test_a_record_that_contains_itself_makes_no_packed_record() -> None:
    record: dict[str, Any] = {}
    record["v"] = record
    assert Packing(None).pack(record, 1) is None


def test_nan_stays_nan() -> None:
    packing = Packing(None)
    assert math.isnan(packing.unpack(packing.pack({"v": math.nan}, 1) or b"")["v"])
