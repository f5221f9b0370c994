from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streamd.runtime.offload_wire import from_extension, pack, portable

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.sampled_from([2**64, 2**64 - 1, -(2**63), -(2**63) - 1])
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None), max_size=4)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(record=st.dictionaries(st.text(max_size=3), VALUES, max_size=4))
def test_a_record_is_the_same_on_the_other_side(record: dict[str, Any]) -> None:
    there = msgspec.msgpack.decode(pack(portable(record)), ext_hook=from_extension)
    assert there == record


def test_an_extension_of_somebody_else_stays_one() -> None:
    assert from_extension(9, memoryview(b"x")) == msgspec.msgpack.Ext(9, b"x")
