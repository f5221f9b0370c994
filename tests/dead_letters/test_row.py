import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.dead_letter import DeadLetter
from streamd.dead_letters.row import COLUMNS, json_text, row_of, size_bytes_of


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def cycle() -> dict[str, Any]:
    record: dict[str, Any] = {"x": 1}
    record["self"] = [record, record]
    return record


def nested() -> dict[str, Any]:
    record: dict[str, Any] = {}
    for _ in range(100_000):
        record = {"a": record}
    return record


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"a": 1, "b": [True, None, "é"]}, '{"a":1,"b":[true,null,"é"]}'),
        ({"data": b"\xff\x00"}, '{"data":"/wA="}'),
        ({"data": b"\xff", "none": None}, '{"data":"/w==","none":null}'),
        (msgspec.defstruct("S", [("a", int)])(a=1), '{"a":1}'),
        ({"big": 2**70, "none": None}, '{"big":1180591620717411303424,"none":null}'),
        ({"a": "\ud800"}, '{"a":"\\ud800"}'),
        ({"a": object}, """{"a":"<class 'object'>"}"""),
        ({"a": float("nan")}, json.dumps("{'a': nan}")),
        ({"a": float("-inf"), "b": None}, json.dumps("{'a': -inf, 'b': None}")),
        ({(1, 2): 3}, '{"(1, 2)":3}'),
        (cycle(), json.dumps("{'x': 1, 'self': [{...}, {...}]}")),
        (nested(), '"<dict>"'),
        ({"a": Broken()}, '"<dict>"'),
        (Broken(), '"<Broken>"'),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_every_record_has_a_text_that_is_json(record: Any, text: str) -> None:
    assert json_text(record) == text
    json.loads(text)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.characters(codec=None)
    | st.builds(object) | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.characters(codec=None) | st.integers(), inner),
)  # fmt: skip


@given(record=st.dictionaries(st.text(), anything), text=st.text(st.characters(codec=None)))
def test_no_record_and_no_text_is_refused(record: dict[str, Any], text: str) -> None:
    row = row_of(DeadLetter(record, text, text, text, text, text, float("nan"), text, text))
    payload = row[-1]
    assert isinstance(payload, str)
    json.loads(payload)
    assert all(value is None or isinstance(value, str | bytes) for value in row)
    assert size_bytes_of(row) > sum(len(value.encode()) for value in row if isinstance(value, str))


@pytest.mark.parametrize(
    ("payload", "digest"),
    [
        (b"secret\xff", "d2a62af39cabafe88ad4b4c28f4227c72b2bf0259e53adcef54a4cc332f940a5"),
        ({"secret": 1}, "303c81734ca9f66015accf5ba61d1d8f434c4bd5c4f31d3226b44cca229e765b"),
    ],
)
def test_a_payload_that_is_private_is_a_hash_or_nothing_and_its_detail_is_not_kept(
    payload: Any, digest: str
) -> None:
    letter = DeadLetter(payload, "decode", "utf8", "near 'secret'", source="lab", peer="10.0.0.1")
    hashed, nothing = row_of(letter, "hash"), row_of(letter, "none")
    assert hashed[7:] == ("", "hash", digest)
    assert nothing[7:] == ("", "none", "")
    assert hashed[:7] == nothing[:7] == row_of(letter)[:7], "who, where and why are kept"


def test_each_part_of_a_letter_is_in_its_own_column() -> None:
    letter = DeadLetter(
        b"\xff",
        "the stage",
        "the reason",
        "the detail",
        "the source",
        "the peer",
        0.5,
        "the pipeline",
        "the sink",
    )
    assert dict(zip(COLUMNS, row_of(letter), strict=True)) == {
        "received_at": "1970-01-01T00:00:00.500000Z",
        "source": "the source",
        "peer": "the peer",
        "pipeline": "the pipeline",
        "sink": "the sink",
        "stage": "the stage",
        "reason": "the reason",
        "detail": "the detail",
        "kind": "frame",
        "payload": b"\xff",
    }


@pytest.mark.parametrize("missing", ["peer", "pipeline", "sink"])
def test_a_part_that_a_letter_does_not_have_is_null_and_the_others_stay(missing: str) -> None:
    parts = {"peer": "10.0.0.1", "pipeline": "main", "sink": "db"}
    row = row_of(DeadLetter({"a": 1}, "sink", "type", **parts | {missing: None}))  # type: ignore[arg-type]  # texts
    found = dict(zip(COLUMNS, row, strict=True))
    assert {name: found[name] for name in parts} == parts | {missing: None}


def test_a_detail_is_cut_where_it_is_long_and_nothing_else_is() -> None:
    long = "ü" * 5000
    row = row_of(DeadLetter({"a": long}, long, long, long, long, long, 0.0, long, long))
    found = dict(zip(COLUMNS, row, strict=True))
    assert found.pop("detail") == "ü" * 1000
    assert found.pop("payload") == json.dumps({"a": long}, ensure_ascii=False, separators=(",", ":"))
    assert {found[name] for name in ("source", "peer", "pipeline", "sink", "stage", "reason")} == {long}
    shorter = row_of(DeadLetter(b"", "decode", "utf8", "d" * 1000))
    assert dict(zip(COLUMNS, shorter, strict=True))["detail"] == "d" * 1000
