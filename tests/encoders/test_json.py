from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.codecs.json import Json as JsonCodec
from streamd.core.contracts import RecordOrigin
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.encoders.json import Json

ORIGIN = RecordOrigin(1e9, "10.0.0.1:1", "lab")
ENCODER = Json(Settings())

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="@"), max_size=4)
RECORDS = st.dictionaries(
    NAMES,
    st.recursive(
        PLAIN, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=3), max_leaves=5
    ),
    max_size=4,
)


@given(st.lists(RECORDS, min_size=1, max_size=3))
def test_what_is_encoded_is_decoded_again(records: list[dict[str, Any]]) -> None:
    messages = ENCODER.encode(records, lambda _: ORIGIN).messages
    codec = JsonCodec(Settings(), None)
    assert codec.decode(Frames.of(messages, "p", 1e9), Now(1e9, 1.0)).records == records


@pytest.mark.parametrize(
    ("value", "reason"),
    [(float("nan"), "row:not_finite"), (object(), "row:json"), ("\ud800", "row:json")],
)
def test_what_json_cannot_express_is_refused_and_its_neighbours_are_not(value: Any, reason: str) -> None:
    done = ENCODER.encode([{"a": 1}, {"a": value}, {"a": None}], lambda _: ORIGIN)
    assert done.messages == [b'{"a":1}', b'{"a":null}']
    assert {index: bad.reason for index, bad in done.rejects.items()} == {1: reason}
    with pytest.raises(BadData, match=reason):
        ENCODER.encode_one({"a": value}, ORIGIN)
