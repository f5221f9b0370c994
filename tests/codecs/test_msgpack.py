"""The codec msgpack."""

import json
import tomllib
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from streamd.codecs.msgpack import Msgpack
from streamd.core.contracts import Codec, Decoded
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema, SchemaField
from tests.codecs.cases import WIDE_NAMES

NOW = Now(1769846405.0, 0.0)
CASES = tomllib.loads((Path(__file__).parents[1] / "data/msgpack/messages.toml").read_text())["case"]
pack = msgspec.msgpack.encode

PIECES = [
    pack({"a": 1}), pack([{"a": 1}, {"b": "x"}, 7]), pack({"a": {"b": [1.5, b"\xff", None]}}), pack({1: 2}),
    b"\x81", b"\x92", b"\xa1a", b"\xa5@peer", b"\xa7@source", b"\xdd\xff\xff\xff\xff", b"\xc1",
    b"\xca\x7f\xc0\0\0", b"\xd6\xff\0\0\0\1", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xc4\1a", b"\xa1\xff", b"\xd4\1\2",
]  # fmt: skip
DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (pack([{}] * 3000), {}),
    (pack({"a": [[]] * 3000}), {}),
    (pack(dict.fromkeys(WIDE_NAMES)), {}),
    (pack({"a": ["Ā"] * 3000}), {}),
    (pack({"a": [-128] * 3000}), {}),
    (b"\x81\xa1a\xdc\x03\xe8" + b"\xd6\xff\0\0\0\1" * 1000, {}),
]


def new(schema: Schema | None = None, *, typed: bool = False) -> Msgpack:
    codec = Msgpack(Msgpack.Config(), schema)
    codec.typed = typed
    return codec


def schema_of(**fields: Any) -> Schema:
    return Schema("reading", TypeAdapter(dict[str, SchemaField]).validate_python(fields))


READING = schema_of(
    ts="timestamp", sensor="str", n={"type": "int", "required": False}, value={"type": "float", "le": 150}
)


def decode(codec: Msgpack, *payloads: bytes) -> Decoded:
    return codec.decode(Frames.of(list(payloads), "10.0.0.1:1", 1e9), NOW)


def reasons(decoded: Decoded) -> list[str]:
    return [bad.reason for bad in decoded.rejects]


@pytest.mark.parametrize("case", CASES, ids=[str(number) for number in range(len(CASES))])
def test_a_frame_becomes_its_records_and_rejects(case: dict[str, Any]) -> None:
    frame = bytes.fromhex(case["hex"])
    done = decode(new(), frame)
    records = json.loads(msgspec.json.encode(done.records))
    assert records == [json.loads(record) for record in case.get("records", [])]
    assert reasons(done) == case.get("reason", "").split()
    if not case.get("records"):
        assert done.rejects[0].payload == frame


def test_a_schema_types_the_fields_and_finds_a_nan_that_it_does_not_exclude() -> None:
    good = {"ts": 1769846400.5, "sensor": "s-1", "n": 7, "value": 21.5}
    for typed in (False, True):
        codec = new(READING, typed=typed)
        done = decode(codec, pack(good), pack(good | {"value": 3}))
        assert done.typed == typed
        records = [READING.to_dict(record) for record in done.records] if typed else done.records
        assert records[0] == {**good, "ts": "2026-01-31T08:00:00.500000Z"}
        for value in (float("nan"), float("inf"), -float("inf")):
            done = decode(codec, pack(good), pack(good | {"value": value}))
            assert (len(done.records), reasons(done)) == (1, ["msgpack:nan"])
        assert reasons(decode(codec, pack(good | {"value": 151.0}))) == ["schema:range"]
        assert reasons(decode(codec, pack({"ts": 1, "value": 1.0}))) == ["schema:required"]


def test_times_and_undeclared_fields_are_kept_with_a_schema() -> None:
    frame = bytes.fromhex("84a27473d6ff00000001a673656e736f72a178a576616c7565ca3f800000a46d6f726501")
    (record,) = decode(new(READING), frame).records
    assert record == {"ts": "1970-01-01T00:00:01.000000Z", "sensor": "x", "n": None, "value": 1.0, "more": 1}


def test_large_floats_whose_sum_is_not_finite_are_kept() -> None:
    payload = pack({"a": 1.7e308, "b": 1.7e308})
    assert decode(new(), payload).records == [{"a": 1.7e308, "b": 1.7e308}]


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\xc6", b"\xdb"])
def test_no_memory_is_taken_for_a_length_that_was_only_announced(head: bytes) -> None:
    tracemalloc.start()
    try:
        assert reasons(decode(new(), head + b"\x7f\xff\xff\xff" + b"\1" * 100)) == ["msgpack:truncated"]
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_any_depth_is_a_record_or_a_reject() -> None:
    for depth in (62, 63, 64, 65, 500, 20_000):
        for shape in (b"\x91", b"\x81\xa1a"):
            done = decode(new(), b"\x81\xa1a" + shape * depth + b"\1")
            assert reasons(done) == ([] if depth <= 63 else ["msgpack:depth"])


def test_many_small_containers_count_with_their_memory() -> None:
    payload = b"\x81\xa1a\xdc\x40\0" + b"\x90" * 0x4000
    tracemalloc.start()
    try:
        done = decode(new(), payload)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(done.records[0]["a"]) == 0x4000
    assert done.size_bytes is not None
    assert used < done.size_bytes < 3 * used


@given(frames=st.lists(st.lists(st.sampled_from(PIECES), max_size=3).map(b"".join) | st.binary(max_size=12)))
def test_frames_at_once_and_one_by_one_give_the_same(frames: list[bytes]) -> None:
    for schema in (None, READING):
        codec = new(schema)
        at_once = decode(codec, *frames)
        each = Codec.decode(codec, Frames.of(list(frames), "10.0.0.1:1", 1e9), NOW)
        assert at_once.records == each.records
        assert at_once.rejects == each.rejects
