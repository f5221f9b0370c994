from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.codecs.logfmt import Logfmt as LogfmtCodec
from streamd.core.contracts import RecordOrigin
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.encoders.logfmt import Logfmt

ORIGIN = RecordOrigin(1e9, "10.0.0.1:1", "lab")
ENCODER = Logfmt(Settings())


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("warn", b"warn"),
        ("disk full", b'"disk full"'),
        ('say "x"\n', b'"say \\"x\\"\\n"'),
        ("a=b", b'"a=b"'),
        ("\\", b'"\\\\"'),
        ("", b'""'),
        ("5", b'"5"'),
        ("true", b'"true"'),
        ("数据", "数据".encode()),
        ("\0\x1b", b'"\\u0000\\u001b"'),
        (5, b"5"),
        (-1.5, b"-1.5"),
        (True, b"true"),
        (None, b""),
        (b"\0", b'"AA=="'),
        ({"a": [1]}, b'"{\\"a\\":[1]}"'),
        ([], b"[]"),
    ],
)
def test_each_kind_of_value_has_its_spelling(value: Any, written: bytes) -> None:
    assert ENCODER.encode_one({"k": value, "n": 1}, ORIGIN) == b"k=" + written + b" n=1"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "logfmt:empty"),
        ({"": 1}, "logfmt:key"),
        ({"a b": 1}, "logfmt:key"),
        ({"a=": 1}, "logfmt:key"),
        ({'a"': 1}, "logfmt:key"),
        ({"a\n": 1}, "logfmt:key"),
        ({"a": float("nan")}, "row:not_finite"),
        ({"a": object()}, "row:json"),
        ({"a": "\ud800"}, "row:json"),
    ],
)
def test_what_logfmt_cannot_express_is_refused(record: dict[Any, Any], reason: str) -> None:
    with pytest.raises(BadData) as refused:
        ENCODER.encode_one(record, ORIGIN)
    assert refused.value.reason == reason


KEYS_OF_LOGFMT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=' ="@\ufeff'), min_size=1, max_size=4
)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(
        ["1e5", "-0", "TRUE", "False", "null", "0x1", "1_000", "\ufeff", "\\n", "\x7f\x85\u2028"]
    )
)


@settings(max_examples=100)
@given(st.dictionaries(KEYS_OF_LOGFMT, VALUES, min_size=1, max_size=4))
def test_what_is_encoded_is_decoded_again(record: dict[str, Any]) -> None:
    codec = LogfmtCodec(LogfmtCodec.Config(types="auto"), None)
    decoded = codec.decode(Frames.of([ENCODER.encode_one(record, ORIGIN)], "p", 1e9), Now(1e9, 1.0))
    assert [decoded.records, decoded.rejects] == [[record], []]
