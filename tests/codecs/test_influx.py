"""The codec `influx`, and how lines become records: `line_protocol/grammar.py`, `line_protocol/points.py`,
`line_protocol/columns.py`, `line_protocol/shapes.py`, `line_protocol/names.py` and `line_protocol/times.py`.
"""

import json
import math
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from streamd.codecs.influx import Influx
from streamd.core.contracts import Codec, Decoded
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema, SchemaField
from tests.codecs.cases import NAMES, WIDE_NAMES

CASES = json.loads((Path(__file__).parents[1] / "data/influx/cases.json").read_text())
NOW = Now(1_769_851_800.5, 1.0)
NS = 1_769_846_400_000_000_000
TIME = "2026-01-31T08:00:00.000000Z"
PIECES = [
    b"m", b",t=a", b",u=b", b" ", b"f=1", b",g=2i", b',s="a b"', b'"', b"=", b",", b"\\", b" 17698464000",
    b"\n", b"\r\n", b"m f=1 1\n", b'm,t=a s="x",f=2\n', b"\xff", b"\0", b"#", b",@peer=x", b"f=x", b"-1",
]  # fmt: skip
DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b"a b=1\n" * 2000, {}),
    (b"a b=1\n" * 2000, {"nested": True}),
    (("m " + ",".join(f"{name}=1" for name in NAMES)).encode(), {}),
    (("m " + ",".join(f"{name}=1" for name in WIDE_NAMES)).encode(), {"nested": True}),
    (("m" + "".join(f",{name}=1" for name in WIDE_NAMES) + " a=1").encode(), {}),
]
OPTIONS = [{}, {"precision": "s"}, {"nested": True}]


def silent(frame: bytes) -> bool:
    """Whether a frame of this format may rightly make neither a record nor a dead letter."""
    return b"#" in frame and all(not line.strip(b" \r") or b"#" in line for line in frame.split(b"\n"))


def new(fields: dict[str, Any] | None = None, **options: Any) -> Influx:
    adapter = TypeAdapter(dict[str, SchemaField])
    schema = None if fields is None else Schema("s", adapter.validate_python(fields))
    return Influx(Influx.Config(**options), schema)


def frames_of(*payloads: bytes) -> Frames:
    return Frames.of(list(payloads), "127.0.0.1:5", NOW.wall_s)


def decoded(codec: Influx, *payloads: bytes) -> Decoded:
    """What a batch gives; the same as its frames one by one."""
    frames = frames_of(*payloads)
    done, alone = codec.decode(frames, NOW), Codec.decode(codec, frames, NOW)
    if done.typed and codec.schema is not None:
        done.records = list(map(codec.schema.to_dict, done.records))
    assert done.records == alone.records
    assert [*map(kinds, done.records)] == [*map(kinds, alone.records)]
    assert (list(range(len(payloads))) if done.origins is None else done.origins) == alone.origins
    assert done.rejects == alone.rejects
    return done


def kinds(record: Any) -> Any:
    """The types of all values: 1 and 1.0 and True are equal."""
    if isinstance(record, dict):
        return {name: kinds(value) for name, value in record.items()}
    return type(record)


def reasons(done: Decoded) -> list[str]:
    return [reject.reason for reject in done.rejects]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_a_text_becomes_these_records_and_faults(case: dict[str, Any]) -> None:
    done = decoded(new(), case["lines"].encode())
    records = [part for part in case["becomes"] if isinstance(part, dict)]
    faults = [part for part in case["becomes"] if isinstance(part, list)]
    assert done.records == records
    assert [*map(kinds, done.records)] == [*map(kinds, records)]
    assert [[reject.payload.decode(), reject.reason] for reject in done.rejects] == faults


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_a_text_in_a_batch_of_lines_that_are_like_it_becomes_the_same(case: dict[str, Any]) -> None:
    count = 6
    done = decoded(new(), *[case["lines"].encode()] * count)
    assert done.records == [part for part in case["becomes"] if isinstance(part, dict)] * count
    assert reasons(done) == [part[1] for part in case["becomes"] if isinstance(part, list)] * count


KEYS = st.sampled_from(["a", "b", "t", "s", "timestamp", "measurement", "a_tag", "é", "k\\,x", 'q"'])
GOOD = ["1", "2.5", "-3", "5i", "-7i", "3u", "t", "False", '"s"', '"a b,c=d"', '"a\nb"', '"\\""', "1e5"]
BAD = ["x", "", '"', "1e999", "99999999999999999999u", "18446744073709551615u", "1_0", "+1"]
VALUES = st.sampled_from([*GOOD, *BAD])
TAG_VALUES = st.sampled_from(["x", "1", "a\\ b", '"', "", "é"])
TIMES = st.sampled_from(["", f" {NS}", f" {NS + 123}", " 5", " -5", f" {NS}0", " x", " ", f"  {NS} "])
MIXED = st.lists(
    st.tuples(
        st.lists(st.tuples(KEYS, TAG_VALUES), max_size=2),
        st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=3),
    ).flatmap(
        lambda keys: st.lists(
            st.tuples(
                st.tuples(*[TAG_VALUES | st.just(value) for _, value in keys[0]]),
                st.tuples(*[VALUES | st.just(value) | st.just(value) for _, value in keys[1]]),
                TIMES | st.just(f" {NS}"),
            ).map(
                lambda row: (
                    "m"
                    + "".join(f",{key}={value}" for (key, _), value in zip(keys[0], row[0], strict=True))
                    + " "
                    + ",".join(f"{key}={value}" for (key, _), value in zip(keys[1], row[1], strict=True))
                    + row[2]
                )
            ),
            min_size=4,
            max_size=9,
        )
    ),
    max_size=3,
).map(lambda groups: [line.encode() for group in groups for line in group])
SCHEMAS = (
    None,
    {"timestamp": "timestamp", "measurement": "str", "timestamp_ns": {"type": "int", "required": False}},
    {
        "a": {"type": "float", "required": False, "ge": 0},
        "t": {"type": "int", "required": False},
        "s": {"type": "any", "required": False},
        "b": {"type": "json", "required": False},
    },
    {"timestamp": "str", "a": "float"},
)


@given(
    lines=MIXED,
    fields=st.sampled_from(SCHEMAS),
    precision=st.sampled_from(["ns", "s", "h"]),
    nested=st.booleans(),
    typed=st.booleans(),
)
def test_lines_read_by_columns_become_what_they_become_alone(
    lines: list[bytes], fields: Any, precision: str, *, nested: bool, typed: bool
) -> None:
    codec = new(fields, precision=precision, nested=nested)
    codec.typed = typed
    decoded(codec, *lines)
    decoded(codec, b"\n".join(lines), *lines[:2])


def test_lines_that_are_alike_are_read_by_columns_also_where_a_neighbour_is_bad(monkeypatch: Any) -> None:
    alone: list[bytes] = []
    codec = new()
    read = codec._points.read

    def watched(payload: bytes, received: str) -> Any:
        alone.append(payload)
        return read(payload, received)

    monkeypatch.setattr(codec._points, "read", watched)
    lines = [
        b'cpu,host=h%d user=%d.5,n=%di,on=t,s="a, b" %d' % (n % 3, n, n, NS + n * 10**6) for n in range(60)
    ]
    lines[20:20] = [b"mem,host=a free=%di %d" % (n, NS) for n in range(20)]
    bad = [b"cpu,host=h user=x,n=1i,on=t %d" % NS, b"m", b"disk free=1"]
    done = codec.decode(frames_of(*lines[:7], *bad, *lines[7:]), NOW)
    assert alone == bad
    assert len(done.records) == 81
    assert done.records[0] == {
        "timestamp": TIME, "measurement": "cpu", "host": "h0", "user": 0.5, "n": 0, "on": True, "s": "a, b",
    }  # fmt: skip
    assert done.records[8] == {
        "timestamp": "2026-01-31T08:00:00.007000Z", "measurement": "cpu", "host": "h1", "user": 7.5, "n": 7,
        "on": True, "s": "a, b",
    }  # fmt: skip
    assert done.origins == [*range(7), 9, *range(10, 83)]


@pytest.mark.parametrize(
    ("precision", "written", "time"),
    [
        ("ns", "1769846400000000000", TIME), ("us", "1769846400000001", "2026-01-31T08:00:00.000001Z"),
        ("ms", "1769846400001", "2026-01-31T08:00:00.001000Z"), ("s", "1769846400", TIME),
        ("m", "29497440", TIME), ("h", "491624", TIME), ("s", "-1", "1969-12-31T23:59:59.000000Z"),
        ("ms", "0", "1970-01-01T00:00:00.000000Z"), ("s", "9223372036", "2262-04-11T23:47:16.000000Z"),
    ],
)  # fmt: skip
def test_a_timestamp_is_read_in_its_precision(precision: str, written: str, time: str) -> None:
    done = decoded(new(precision=precision), *[b"m f=1 %s" % written.encode()] * 5)
    assert [record["timestamp"] for record in done.records] == [time] * 5
    assert all("timestamp_ns" not in record for record in done.records)


@pytest.mark.parametrize(
    ("precision", "written"),
    [("s", "9223372037"), ("h", "2562048"), ("us", "-9223372036854776"), ("ns", "1" * 5000)],
)
def test_a_timestamp_of_another_precision_is_out_of_range(precision: str, written: str) -> None:
    done = decoded(new(precision=precision), *[b"m f=1 %s" % written.encode()] * 5)
    assert reasons(done) == ["influx:time"] * 5
    assert "check the precision" in done.rejects[0].detail


def test_a_schema_types_tags_and_fields_and_keeps_the_rest() -> None:
    fields = {
        "timestamp": "timestamp", "channel": "int", "value": {"type": "float", "ge": 0},
        "note": {"type": "str", "required": False}, "site": "str",
    }  # fmt: skip
    lines = [b"m,channel=%d,site=lab,x=y value=%di %d" % (n, n, NS) for n in range(5)]
    done = decoded(
        new(fields), *lines, b"m,channel=x,site=lab value=1", b"m,channel=1,site=lab value=-1", b"m a=1"
    )
    assert done.records[3] == {
        "timestamp": TIME, "channel": 3, "value": 3.0, "note": None, "site": "lab", "measurement": "m",
        "x": "y",
    }  # fmt: skip
    assert list(done.records[3])[:5] == list(fields)
    assert len(done.records) == 5
    assert reasons(done) == ["schema:type", "schema:range", "schema:required"]


def test_records_without_undeclared_fields_become_structs() -> None:
    codec = new({"timestamp": "timestamp", "measurement": "str", "a": {"type": "float", "required": False}})
    codec.typed = True
    lines = [b"m a=%d.5 %d" % (n, NS) for n in range(8)] + [b"m\\ b a=1 %d" % NS, b"m\\ c a=1 %d" % NS]
    done = codec.decode(frames_of(*lines), NOW)
    assert done.typed
    assert codec.schema is not None
    assert done.records[0] == codec.schema.struct(TIME, "m", 0.5)
    assert done.records[8] == codec.schema.struct(TIME, "m b", 1.0)
    for more in (b"m a=1,more=2 %d" % NS, b"m a=1 %d" % (NS + 1)):
        done = codec.decode(frames_of(*lines, more), NOW)
        assert not done.typed
        assert done.records[0] == {"timestamp": TIME, "measurement": "m", "a": 0.5}
        assert len(done.records[-1]) == 4


def test_nested_records_keep_tags_and_fields_apart() -> None:
    lines = [b"m,host=a host=%d,measurement=2i %d" % (n, NS + 1) for n in range(5)]
    done = decoded(new(nested=True), *lines)
    assert done.records[4] == {
        "timestamp": TIME, "timestamp_ns": NS + 1, "measurement": "m", "tags": {"host": "a"},
        "fields": {"host": 4.0, "measurement": 2},
    }  # fmt: skip


def test_a_time_beyond_64_bits_is_found_among_others() -> None:
    lines = [b"m f=1 9223372036854775807"] * 5 + [b"m f=1 9223372036854775808"]
    done = decoded(new(), *lines)
    assert [record["timestamp_ns"] for record in done.records] == [2**63 - 1] * 5
    assert [(reject.index, reject.reason) for reject in done.rejects] == [(5, "influx:time")]


def test_a_frame_of_comments_is_no_dead_letter_and_one_without_anything_is() -> None:
    codec = new()
    done = codec.decode(frames_of(b"# a\n#b\n", b"", b" \n\r\n", b"#\nm f=1"), NOW)
    assert (len(done.records), done.origins) == (1, [3])
    assert [(reject.index, reject.reason) for reject in done.rejects] == [(1, "empty"), (2, "empty")]
    assert codec.counts == {"comments": 3}


def test_the_fault_of_a_line_is_named_with_its_place() -> None:
    lines = [b"m,t f=1", b"m f=1,g", b"m f=1 x", b"m", b",a=b f=1", b"m f=1 1 1"]
    details = [reject.detail for reject in new().decode(frames_of(*lines), NOW).rejects]
    assert details == [
        "expected a tag like ,key=value, or a blank and a field at character 2",
        "expected a comma and a field, or a timestamp at character 6",
        "expected a timestamp and the end of the line at character 7",
        "expected a tag like ,key=value, or a blank and a field at character 2",
        "expected a measurement at character 1",
        "expected a timestamp and the end of the line at character 8",
    ]


def test_a_line_that_is_not_utf8_is_rejected_with_its_bytes() -> None:
    lines = [b"m,t=%s f=1 1" % bytes([0x61 + n]) for n in range(6)]
    done = decoded(new(), b"\n".join([*lines[:3], b"m,t=\xff f=1", b"# \xff", *lines[3:]]), *lines)
    assert len(done.records) == 12
    assert [(reject.payload, reject.reason) for reject in done.rejects] == [(b"m,t=\xff f=1", "influx:utf8")]


HOSTILE = [
    b'm f="x",g="\n', b'm f="\n', b"m,a=b", b"m,a\\", b'"', b" ", b"\n", b"m f=1,", b"m f=\n",
    b'm,t=a",u=" f=",g="\n', b'm f="\\', b"1",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_input_takes_linear_time(unit: bytes) -> None:
    """16 times the input takes about 16 times as long; quadratic work would take 256 times."""

    def least_s(size: int) -> float:
        frames = frames_of(unit * (size // len(unit)), b"m f=" + unit * (size // len(unit)))
        codec, spent = new(), []
        for _ in range(3):
            begun_s = time.process_time()
            codec.decode(frames, NOW)
            spent.append(time.process_time() - begun_s)
        return min(spent)

    assert least_s(2**16) < 100 * least_s(2**12) + 0.05


def test_lines_of_one_shape_with_other_keys_keep_their_keys() -> None:
    lines = [b"m,%s=x %s=%d" % (b"ab"[n % 2 : n % 2 + 1], b"cd"[n % 2 : n % 2 + 1], n) for n in range(12)]
    records = decoded(new(), *lines).records
    assert [sorted({*record} - {"timestamp", "measurement"}) for record in records] == [
        ["a", "c"],
        ["b", "d"],
    ] * 6


def test_a_batch_of_many_shapes_is_read(monkeypatch: Any) -> None:
    monkeypatch.setattr("streamd.line_protocol.shapes._SHAPES_KEPT", 8)
    chance = random.Random(3)  # noqa: S311 - no secret
    lines = []
    for n in range(30):
        shape = b"m" + b"".join(b",t%d=a" % k for k in range(n % 6)) + b" "
        lines += [
            shape + b",".join(b"f%d=%d" % (k, chance.randrange(9)) for k in range(1 + n // 6))
            for _ in range(5)
        ]
    chance.shuffle(lines)
    done = decoded(new(), *lines)
    assert len(done.records) == 150
    assert all(math.isfinite(record["f0"]) for record in done.records)
