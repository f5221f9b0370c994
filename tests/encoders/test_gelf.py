import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.codecs.gelf import Gelf as GelfCodec
from streamd.core.contracts import RecordOrigin
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.core.timestamp import from_epoch
from streamd.encoders.gelf import Gelf

KEYS = ["short_message"] * 6

ORIGIN = RecordOrigin(1769846405.0, "10.0.0.1:514", "lab")
ENCODER = Gelf(Settings())
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text("abc", min_size=1, max_size=3)
MESSAGES = st.fixed_dictionaries(
    {
        "version": st.sampled_from(["1.0", "1.1"]),
        "host": TEXTS.filter(str.strip),
        "short_message": TEXTS.filter(str.strip),
        "timestamp": st.integers(0, 4_000_000_000_000_000).map(lambda us: from_epoch(us / 1e6)),
    },
    optional={"level": st.integers(0, 7), "full_message": TEXTS, "line": st.integers(0, 99)},
)
FIELDS = st.dictionaries(NAMES, TEXTS | st.integers(-5, 5) | st.none() | st.booleans(), max_size=4)


@given(message=MESSAGES, fields=FIELDS)
def test_what_is_encoded_is_decoded_again(message: dict[str, Any], fields: dict[str, Any]) -> None:
    record = message | fields
    payload = ENCODER.encode_one(record, ORIGIN)
    done = GelfCodec(GelfCodec.Config(), None).decode(Frames.of([payload], "p", 1e9), Now(1e9, 1.0))
    assert done.records == [record]


def test_what_a_record_lacks_is_taken_from_its_origin() -> None:
    message = json.loads(ENCODER.encode_one({"message": "m", "a": 1, "_b": 2}, ORIGIN))
    assert message == {
        "version": "1.1", "host": "10.0.0.1", "short_message": "m", "timestamp": 1769846405.0, "_a": 1,
        "_b": 2,
    }  # fmt: skip
    message = json.loads(ENCODER.encode_one({"short_message": "m"}, RecordOrigin(1.0, None, "lab")))
    assert (message["host"], message["timestamp"]) == ("lab", 1.0)
    message = json.loads(ENCODER.encode_one({"message": "m", "version": "2.0"}, ORIGIN))
    assert message["version"] == "1.1"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "gelf:message"), ({"short_message": " "}, "gelf:message"), ({"message": 7}, "gelf:message"),
        ({"message": "m", "timestamp": "x"}, "timestamp:syntax"), ({"message": "m", "id": 1}, "gelf:name"),
        ({"message": "m", "a": 1, "_a": 2}, "gelf:name"),
        ({"message": "m", "a": float("nan")}, "row:not_finite"),
    ],
)  # fmt: skip
def test_what_gelf_cannot_express_is_rejected(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadData) as caught:
        ENCODER.encode_one(record, ORIGIN)
    assert caught.value.reason == reason
