"""The codec statsd, and `core/statsd_endings.py`.

`tests/data/statsd` has lines of the clients, and what the field's servers refuse.
"""

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from streamd.codecs.statsd import Statsd
from streamd.config.brought_schemas import brought_fields
from streamd.core.contracts import BadElement, Decoded
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema, SchemaField
from tests.codecs.cases import WIDE_NAMES

NOW = Now(1.8e9, 0.0)
DATA = Path(__file__).parents[1] / "data" / "statsd"
ACCEPTED, REJECTED = (
    [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]
    for name in ("accepted", "rejected")
)
PIECES = [
    b"a:1|c", b"a:1|c|@0.1|#env:prod,x", b"b:-2|g", b"c:3:4|ms", b"d:1|c:2|c", b"u:x|s", b"\n", b":", b"|",
    b"c", b"|c", b"|g", b"1", b"-1", b"+1", b"|@0.5", b"|#a:1,a:2", b"|T1657100430", b"|c:id", b"_e{1,1}:",
    b"_sc|n|0", b"a", b"1e5", b"nan", b" ", b"\r\n", b"\xff", "\u0661".encode(),
]  # fmt: skip
DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b"a" + b":1" * 2000 + b"|c", {}),
    (b"a:1|c\n" * 2000, {}),
    (b"a:1|s\n" * 2000, {}),
    (b"a:1|c|#a\n" * 2000, {}),
    (("a:1|c|#" + ",".join(WIDE_NAMES)).encode(), {}),
    (b"a:1|c|#" + b",".join([b"a"] * 3000), {}),
]
BROUGHT = Schema("statsd", brought_fields(Statsd))


def new(schema: Schema | None = None, *, typed: bool = False) -> Statsd:
    codec = Statsd(Statsd.Config(), schema)
    codec.typed = typed
    return codec


def declared(**fields: Any) -> Schema:
    return Schema("own", TypeAdapter(dict[str, SchemaField]).validate_python(fields))


def decode(codec: Statsd, *payloads: bytes) -> Decoded:
    return codec.decode(Frames.of([*payloads], "127.0.0.1:5", 1e9), NOW)


def fate(codec: Statsd, *payloads: bytes) -> tuple[list[Any], Any, list[Any]]:
    """Records as dicts, their frames, and the rejects."""
    done = decode(codec, *payloads)
    records = done.records
    if done.typed and codec.schema is not None:
        records = list(map(codec.schema.to_dict, records))
    origins = list(range(len(payloads))) if done.origins is None else done.origins
    return records, origins, [(bad.index, bad.payload, bad.reason, bad.element) for bad in done.rejects]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case["line"])
def test_a_line_that_clients_send_is_decoded(case: dict[str, Any]) -> None:
    line, count = case["line"].encode(), len(case["records"])
    codec = new()
    for _ in range(2):  # the second time its ending is known
        assert fate(codec, line, line) == (case["records"] * 2, [0] * count + [1] * count, [])


@pytest.mark.parametrize("case", REJECTED, ids=lambda case: case["line"])
def test_a_bad_line_is_rejected_alone(case: dict[str, Any]) -> None:
    line, reason = case["line"].encode(), case["reason"]
    assert fate(new(), line) == ([], [], [(0, line, reason, False)])
    codec = new()
    good = {"name": "ok", "type": "counter", "value": 1.0}
    for _ in range(2):
        records, origins, rejects = fate(codec, b"ok:1|c\n" + line + b"\nok:1|c\n", b"ok:1|c")
        assert (records, origins) == ([good] * 3, [0, 0, 1])
        assert rejects == [(0, line, reason, True)]


def test_one_bad_value_of_a_line_with_several_metrics_is_rejected_alone() -> None:
    records, _, rejects = fate(new(), b"m:1|c:x|c|@0.5:3|ms")
    assert [(record["type"], record["value"]) for record in records] == [("counter", 1.0), ("timer", 3.0)]
    assert rejects == [(0, b"m:x|c|@0.5", "statsd:value", True)]


def test_lines_that_are_not_utf8_are_rejected_with_their_bytes() -> None:
    bad = b"invalid\xc3\x28utf8:1|c"
    codec = new()
    for _ in range(2):
        records, origins, rejects = fate(
            codec, b"a:1|c\n" + bad, b"a:1|c", b"a:1|c|#x:\xff", "ü:1|c".encode()
        )
        assert [record["name"] for record in records] == ["a", "a", "ü"]
        assert origins == [0, 1, 3]
        assert rejects == [(0, bad, "statsd:utf8", True), (2, b"a:1|c|#x:\xff", "statsd:utf8", False)]


@pytest.mark.parametrize("payload", [b"", b"\n", b"\r\n\r\n", b"\0", b" \n \n"])
def test_a_frame_without_a_line_is_rejected_as_empty(payload: bytes) -> None:
    assert fate(new(), payload, b"a:1|c")[1:] == ([1], [(0, payload, "empty", False)])


def test_line_ends_and_blank_lines_are_no_content() -> None:
    payload = b"a:1|c\r\n\r\n\nb:2|g|#t:v\r\nc:3|s\r\n\0"
    for codec in (new(), new(BROUGHT)):
        records, origins, rejects = fate(codec, payload, payload)
        assert [record["name"] for record in records] == ["a", "b", "c"] * 2
        assert records[1]["tags"] == {"t": "v"}
        assert records[2]["member"] == "3"
        assert (origins, rejects) == ([0, 0, 0, 1, 1, 1], [])


def test_a_sign_makes_a_gauge_relative_whatever_was_seen_before() -> None:
    codec = new()
    for payload in (b"g:-1|g", b"g:1|g", b"g:+1|g", b"g:1e-3|g", b"g:-0|g"):
        types = [record["type"] for record in fate(codec, payload)[0]]
        assert types == ["gauge" if payload[2:3] == b"1" else "gauge_delta"]


def test_a_known_ending_does_not_let_a_bad_number_pass() -> None:
    codec = new()
    decode(codec, b"a:1|c", b"a:1|ms", b"a:1|g")
    for value in ("nan", "inf", "1_0", "1e999", "\u0663", " ", "", "+", "-", ".", "0x1", "1" * 401):
        assert fate(codec, f"a:{value}|c".encode())[2][0][2] == "statsd:value", value
    assert fate(codec, b"a:-1|ms")[2][0][2] == "statsd:value"
    assert fate(codec, b"a:" + b"1" * 100 + b"|c")[0][0]["value"] == float("1" * 100)


def test_records_share_no_tags() -> None:
    codec = new()
    payloads = [b"a:1|c|#t:v,u:1,u:2"] * 3 + [b"a:1:2|ms|#t:v,u:1,u:2"]
    for record in decode(codec, *payloads).records + decode(codec, *payloads).records:
        assert record["tags"] == {"t": "v", "u": ["1", "2"]}
        record["tags"]["u"].append("3")
        record["tags"]["t"] = "changed"
    decode(codec, b"b:1|c|#t:v").records[0]["tags"]["t"] = "changed"
    assert [decode(codec, b"b:1|c|#t:v").records[0]["tags"] for _ in range(2)] == [{"t": "v"}] * 2


NUMBERS = st.sampled_from(["1", "-1", "+1", "0.5", "1e3", "x", "", "1:2", "nan", "007"])
ENDINGS = st.sampled_from(
    [
        "c|e:x",
        "c",
        "g",
        "ms",
        "h",
        "d",
        "s",
        "m",
        "e",
        "c|@0.1",
        "c|#a:1,b",
        "g|#a:1,a:2|T1657100430",
        "c|",
        "c:2|c",
    ]
)
NAMES = st.sampled_from(["a", "b.c", "", "a b", "_e{1,1}", "_sc|x", "ä", "a|b"])
LINES = st.builds("{}:{}|{}".format, NAMES, NUMBERS, ENDINGS) | st.sampled_from(
    ["", " ", "a:1|c ", "a:1|c\r"]
)


@settings(max_examples=200)
@given(frames=st.lists(st.lists(LINES, max_size=4).map("\n".join).map(str.encode), max_size=6))
def test_what_was_seen_before_changes_no_result(frames: list[bytes]) -> None:
    for schema in (None, BROUGHT):
        used = new(schema)
        decode(used, *frames)
        for known, fresh in zip(fate(used, *frames), fate(new(schema), *frames), strict=True):
            assert known == fresh
        if schema is not None:
            assert fate(new(schema, typed=True), *frames) == fate(new(schema), *frames)
            plain, origins, rejects = fate(new(), *frames)
            assert fate(used, *frames) == ([schema.check(record) for record in plain], origins, rejects)


def test_with_the_schema_that_it_brings_records_are_structs() -> None:
    codec = new(BROUGHT, typed=True)
    done = decode(codec, b"a:1|c|@0.5|#t:v", b"u:x|s", b"_sc|n|1|m:down", b"g:1|g|T1657100430")
    assert done.typed
    rows = [BROUGHT.to_dict(record) for record in done.records]
    assert [row["type"] for row in rows] == ["counter", "set", "service_check", "gauge"]
    assert rows[0] == dict.fromkeys(BROUGHT.names) | {
        "name": "a", "type": "counter", "value": 1.0, "sample_rate": 0.5, "tags": {"t": "v"},
    }  # fmt: skip
    assert rows[3]["timestamp"] == "2022-07-06T09:40:30.000000Z"


def test_fields_beyond_the_schema_are_kept() -> None:
    codec = new(BROUGHT, typed=True)
    done = decode(codec, b"a:1|c", b"_e{1,1}:a|b|p:low")
    assert not done.typed
    assert done.records[1] == dict.fromkeys(BROUGHT.names) | {
        "name": "a", "type": "event", "message": "b", "priority": "low",
    }  # fmt: skip


def test_usual_metrics_become_structs_without_a_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = new(BROUGHT, typed=True)
    payloads = [b"a:1|c\nb:-2.5|d|#t:v\n", b"c:3|ms|@0.5"]
    before = fate(codec, *payloads)
    monkeypatch.setattr("streamd.core.statsd_endings.records_of", pytest.fail)
    done = decode(codec, *payloads)
    assert done.typed
    assert fate(codec, *payloads) == before
    assert before[1] == [0, 0, 1]
    done.records[1].tags["t"] = "changed"
    assert decode(codec, *payloads).records[1].tags == {"t": "v"}


def test_a_declared_schema_decides_which_metrics_are_good() -> None:
    schema = declared(name="str", value={"type": "float", "le": 10})
    for typed in (False, True):
        records, origins, rejects = fate(new(schema, typed=typed), b"a:1|c\nb:11|g|#t:v", b"u:x|s", b"c:3|ms")
        assert [(record["name"], record["value"]) for record in records] == [("a", 1.0), ("c", 3.0)]
        assert records[0]["type"] == "counter"
        assert origins == [0, 2]
        assert rejects == [
            (0, b"b:11|g|#t:v", "schema:range", True),
            (1, b"u:x|s", "schema:required", False),
        ]


def test_one_frame_alone() -> None:
    assert new().decode_one(b"a:1|c\nb", NOW) == [
        {"name": "a", "type": "counter", "value": 1.0},
        BadElement(b"b", "statsd:syntax", "a metric is name:value|type"),
    ]
    with pytest.raises(BadData, match="no number"):
        new().decode_one(b"a:x|c", NOW)


def test_any_number_of_endings_takes_bounded_memory() -> None:
    codec = new()
    tracemalloc.start()
    try:
        for start in range(0, 20_000, 5_000):
            decode(codec, b"\n".join([b"a:1|c|#id:%d" % n for n in range(start, start + 5_000)]))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 7_000_000
    assert fate(codec, b"a:1|c|#id:5")[0][0]["tags"] == {"id": "5"}


def test_many_values_with_many_tags_are_no_bomb() -> None:
    tags = b",".join([b"t%d:v" % n for n in range(1000)])
    line = b"a:" + b":".join([b"1"] * 10_000) + b"|ms|#" + tags
    assert fate(new(), line)[2] == [(0, line, "statsd:value", False)]
    few = decode(new(), b"a:1:2|ms|#" + tags)
    assert few.size_bytes is not None
    assert few.size_bytes > 2 * 1000 * 100


HOSTILE = {
    "digits": b"a:" + b"1" * 200_000 + b"x|c",
    "values": b"a:" + b"1:" * 60_000 + b"|h",
    "metrics": b"a" + b":1|c" * 40_000,
    "rates": b"a" + b":1|c|@" * 30_000,
    "tags": b"a:1|c|#" + b"a:1," * 50_000,
    "sections": b"a:1|c" + b"".join([b"|#t%d:v" % n for n in range(30_000)]),
    "bars": b"a:1" + b"|" * 200_000,
    "lines": b"\n".join([b"a"] * 60_000),
    "event": b"_e{100000,1}:" + b"|" * 200_000,
    "checks": b"_sc|" + b"|m:" * 60_000,
    "not utf8": b"\xff:1|c\n" * 30_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_frame_takes_linear_time(kind: str) -> None:
    """Quadratic work for 200,000 characters would take minutes."""
    before_s = time.process_time()
    decode(new(), HOSTILE[kind])
    assert time.process_time() - before_s < 20
