from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.core.msgpack_values import explained, normalised

KEYS = st.text(max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3)
    | st.binary(max_size=3) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(record=st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_a_record_may_hold_stays_as_it_is(record: dict[str, Any]) -> None:
    assert normalised(record) == record


def test_a_time_is_in_utc_with_microseconds() -> None:
    time = datetime(2026, 1, 31, 8, 0, 0, 1, tzinfo=UTC)
    assert normalised({"a": [time]}) == {"a": ["2026-01-31T08:00:00.000001Z"]}


@pytest.mark.parametrize("depth", [63, 64])
def test_the_record_is_the_first_of_64_levels(depth: int) -> None:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    if depth == 63:
        assert normalised({"a": value}) == {"a": value}
    else:
        with pytest.raises(BadData, match="nested deeper than 64"):
            normalised({"a": value})


def test_an_unknown_fault_is_one_of_syntax_and_its_detail_is_kept() -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.msgpack.decode(b"\xc1")
    bad = explained(caught.value)
    assert (bad.reason, bad.detail) == ("msgpack:syntax", r"invalid opcode '\xc1' (byte 0)")


@pytest.mark.parametrize("number", [-(2**63) - 1, 2**63])
def test_an_integer_beyond_64_bits_is_refused_at_any_depth(number: int) -> None:
    for record in ({"a": number}, {"a": [{"b": number}]}):
        with pytest.raises(BadData, match="msgpack:integer"):
            normalised(record)
