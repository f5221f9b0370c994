from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.codecs.influx import Influx as Codec
from streamd.core.contracts import RecordOrigin
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.encoders.influx import Influx

OPTIONS = [{"measurement": "m"}, {"measurement": "m", "tags": ["site"], "precision": "s"}]
KEYS = ["measurement", "timestamp_ns", "tags", "fields", "site", "value"]
ORIGIN = RecordOrigin(1_769_846_400.0, "127.0.0.1:5", "lab")
BOTH = 'm,a=5,b=x\\,\\= g="é"'
TIME = "2026-01-31T08:00:00.000000Z"


def line(record: dict[str, Any], **options: Any) -> str:
    return Influx(Influx.Config(**options)).encode_one(record, ORIGIN).decode()


@pytest.mark.parametrize(
    ("record", "options", "written"),
    [
        ({"measurement": "m", "f": 1.0}, {}, "m f=1.0"),
        ({"f": 1, "timestamp": TIME}, {"measurement": "m"}, "m f=1i 1769846400000000000"),
        ({"measurement": "m", "f": 1, "timestamp": TIME}, {"precision": "s"}, "m f=1i 1769846400"),
        ({"measurement": "m", "f": 1, "timestamp": TIME, "timestamp_ns": 7}, {}, "m f=1i 7"),
        ({"measurement": "a b,c=d", "e f": True}, {}, "a\\ b\\,c=d e\\ f=true"),
        ({"measurement": "m", "b": "x,=", "a": 5, "f": None, "g": "é"}, {"tags": ["a", "b"]}, BOTH),
        ({"measurement": "m", "s": 'a"\\\n\r'}, {}, 'm s="a\\"\\\\\\n\\r"'),
        ({"measurement": "m", "b": b"\xff", "l": [1, "x"]}, {}, 'm b="/w==",l="[1,\\"x\\"]"'),
        ({"measurement": "m", "u": 2**63, "f": 1e300}, {}, "m u=9223372036854775808u,f=1e+300"),
        ({"measurement": "m", "tags": {"t": "x"}, "fields": {"t": 1}}, {}, "m,t=x t=1i"),
        ({"measurement": 5, "t": 1.5, "f": 1}, {"tags": ["t"]}, "5,t=1.5 f=1i"),
        ({"measurement": "m", "tags": "x", "fields": 1}, {}, 'm tags="x",fields=1i'),
    ],
)  # fmt: skip
def test_a_record_is_this_line(record: Any, options: Any, written: str) -> None:
    assert line(record, **options) == written


@pytest.mark.parametrize(
    ("record", "options", "reason"),
    [
        ({"measurement": "m"}, {}, "influx:no_field"),
        ({"measurement": "m", "f": None, "site": "x"}, {"tags": ["site"]}, "influx:no_field"),
        ({"f": 1}, {}, "influx:measurement"),
        ({"measurement": "#m", "f": 1}, {}, "influx:measurement"),
        ({"measurement": "", "f": 1}, {"measurement": "m"}, "influx:measurement"),
        ({"measurement": "m\\", "f": 1}, {}, "influx:measurement"),
        ({"measurement": "m", "a\nb": 1}, {}, "influx:key"),
        ({"measurement": "m", "": 1}, {}, "influx:key"),
        ({"measurement": "m", "f": 1, "site": ""}, {"tags": ["site"]}, "influx:tag"),
        ({"measurement": "m", "f": 1, "site": "x\\"}, {"tags": ["site"]}, "influx:tag"),
        ({"measurement": "m", "f": float("nan")}, {}, "row:not_finite"),
        ({"measurement": "m", "f": 2**64}, {}, "row:range"),
        ({"measurement": "m", "f": "\ud800"}, {}, "row:json"),
        ({"measurement": "m", "f": 1, "timestamp": "x"}, {}, "influx:time"),
        ({"measurement": "m", "f": 1, "timestamp": "2263-01-01T00:00:00Z"}, {}, "influx:time"),
    ],
)
def test_a_record_that_the_protocol_cannot_express_is_rejected(
    record: Any, options: Any, reason: str
) -> None:
    with pytest.raises(BadData) as raised:
        line(record, **options)
    assert raised.value.reason == reason


PLAIN = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
NAMES = st.text(PLAIN, min_size=1, max_size=6).filter(lambda name: name[-1] != "\\" and name[0] not in "#@")
VALUES = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.text(st.characters(codec="utf-8"), max_size=8)
)
TIMES = st.integers(-(2**63), 2**63 - 1)


def again(written: bytes, **options: Any) -> Any:
    codec = Codec(Codec.Config(**options), None)
    done = codec.decode(Frames.of([written], "127.0.0.1:5", 1e9), Now(1e9, 0.0))
    assert not done.rejects, done.rejects
    return done.records


@given(
    name=NAMES, tags=st.dictionaries(NAMES, NAMES, max_size=3),
    fields=st.dictionaries(NAMES, VALUES, min_size=1, max_size=3), ns=TIMES,
)  # fmt: skip
def test_the_codec_makes_a_nested_record_again(name: str, tags: Any, fields: Any, ns: int) -> None:
    (first,) = again(f"m f=1 {ns}".encode(), nested=True)
    record = first | {"measurement": name, "tags": tags, "fields": fields}
    written = Influx(Influx.Config()).encode_one(record, ORIGIN)
    assert b"\n" not in written
    assert repr(again(written, nested=True)) == repr([record | {"tags": dict(sorted(tags.items()))}])


OWN = ("measurement", "timestamp", "timestamp_ns", "tags", "fields")


@given(
    name=NAMES, tags=st.dictionaries(NAMES, NAMES, max_size=3),
    fields=st.dictionaries(NAMES, VALUES, min_size=1, max_size=3),
)  # fmt: skip
def test_the_codec_makes_a_flat_record_again(name: str, tags: Any, fields: Any) -> None:
    tags = {key: value for key, value in tags.items() if key not in (*OWN, *fields)}
    fields = {key: value for key, value in fields.items() if key not in OWN} or {"f": 1}
    record = {"timestamp": TIME, "measurement": name, **tags, **fields}
    encoder = Influx(Influx.Config(tags=list(tags), precision="us"))
    assert again(encoder.encode_one(record, ORIGIN), precision="us") == [record]
