from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.codecs.msgpack import Msgpack as MsgpackCodec
from streamd.core.contracts import RecordOrigin
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.encoders.msgpack import Msgpack
from streamd.framing.msgpack import Msgpack as MsgpackFraming

ORIGIN = RecordOrigin(1e9, "10.0.0.1:1", "lab")
ENCODER = Msgpack(Settings())
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="@"), max_size=4)
PLAIN = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)  # fmt: skip
RECORDS = st.dictionaries(
    NAMES,
    st.recursive(
        PLAIN, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=3), max_leaves=5
    ),
    max_size=4,
)


@given(st.lists(RECORDS, max_size=3))
def test_what_is_encoded_is_cut_and_decoded_again(records: list[dict[str, Any]]) -> None:
    messages = ENCODER.encode(records, lambda _: ORIGIN).messages
    frames = MsgpackFraming(Settings(), 65536, "close").feed(b"".join(messages))
    assert frames == messages
    codec = MsgpackCodec(Settings(), None)
    assert codec.decode(Frames.of(frames, "p", 1e9), Now(1e9, 1.0)).records == records


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "msgpack:nan"), ([float("inf")], "msgpack:nan"), (2**63, "msgpack:integer"),
        (object(), "msgpack:type"), ("\ud800", "msgpack:utf8"),
    ],
)  # fmt: skip
def test_what_the_codec_would_reject_is_not_sent(value: Any, reason: str) -> None:
    with pytest.raises(BadData) as caught:
        ENCODER.encode_one({"a": value}, ORIGIN)
    assert caught.value.reason == reason
