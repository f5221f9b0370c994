import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import UUID

import msgspec
import pytest

from streamd.encoding import shown as shown_module
from streamd.encoding.shown import LEFT_OUT, shown


class Level(IntEnum):
    HIGH = 3


class Part(msgspec.Struct):
    a: int


class Evil:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class EvilText(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise RuntimeError("no")


def strict(text: bytes) -> Any:
    """The value of the JSON, which has neither NaN nor surrogates, and each key once."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(text.decode(), object_pairs_hook=unique, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (21.5, 21.5),
        (-(2**63), -(2**63)),
        (2**63 - 1, 2**63 - 1),
        (2**63, {"@integer": "9223372036854775808"}),
        (-(10**30), {"@integer": "-1" + "0" * 30}),
        (10**5000, {"@integer": "a number of 16610 bits"}),
        (math.nan, {"@float": "nan"}),
        (math.inf, {"@float": "inf"}),
        (-math.inf, {"@float": "-inf"}),
        (1.7976931348623157e308, 1.7976931348623157e308),
        (b"\x00\xff", {"@base64": "AP8="}),
        (bytearray(b"a"), {"@base64": "YQ=="}),
        (memoryview(b"a"), {"@base64": "YQ=="}),
        ("Zürich \U0001f600\x1b[2J\n\u2028", "Zürich \U0001f600\x1b[2J\n\u2028"),
        ("a\udc80b", "a\\udc80b"),
        (datetime(2026, 1, 31, 8, tzinfo=UTC), "2026-01-31T08:00:00+00:00"),
        (date(2026, 1, 31), "2026-01-31"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Level.HIGH, 3),
        (Part(1), {"a": 1}),
        ({"a": [1, {"b": b"x"}]}, {"a": [1, {"b": {"@base64": "eA=="}}]}),
        ((1, 2), [1, 2]),
        (frozenset({1}), [1]),
        ({1: 2, None: 3, "1": 4}, None),
        (Evil(), {"@type": "Evil"}),
        (EvilText("x"), "x"),
        (object, {"@type": "type"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_is_valid_json(value: Any, expected: Any) -> None:
    for document in (strict(shown({"v": value})), strict(shown({"v": value, "list": []}))):
        assert document.keys() - {"list"} == {"v"}
        if expected is not None:
            assert document["v"] == expected


def test_a_key_of_any_kind_becomes_text() -> None:
    document = strict(shown({"\udcff\x00": 1, 5: 2, Evil(): 3}))  # type: ignore[dict-item]
    assert document["\\udcff\x00"] == 1
    assert document["5"] == 2
    assert len(document) == 3


def test_a_record_that_contains_itself_ends() -> None:
    record: dict[str, Any] = {"a": 1}
    record["self"] = record
    ring: list[Any] = []
    ring.append(ring)
    document = strict(shown({**record, "ring": ring}))
    assert document["a"] == 1
    assert b"nested deeper" in shown(record)


def test_only_named_fields_are_shown_in_the_order_of_their_names() -> None:
    record = {"a": 1, "b": {"c": {"d": 2}, "e": 3}, "b.e": 4, "n": None}
    assert strict(shown(record, ["n", "b.c.d", "b.e", "no", "b.no", "a.b"])) == {
        "n": None,
        "b.c.d": 2,
        "b.e": 4,
    }
    assert list(strict(shown(record, ["b.c", "a"]))) == ["b.c", "a"]


def test_a_field_without_room_is_left_out_and_named() -> None:
    record = {"id": 7, "blob": "x" * 1000, "list": list(range(1000)), "bytes": b"x" * 1000, "end": "e"}
    assert strict(shown(record, room=500)) == {"id": 7, "end": "e", LEFT_OUT: ["blob", "list", "bytes"]}


def test_the_names_of_missing_fields_are_bounded() -> None:
    record = {f"{n}{'k' * 500}": "x" * 100_000 for n in range(50)}
    text = shown(record, room=1000)
    assert len(text) < 5000
    assert strict(text)[LEFT_OUT][-1] == "30 more"


def test_a_record_is_never_larger_than_its_room_allows() -> None:
    record = {f"f{n}": ["\x01" * 40] * 100 for n in range(1000)}
    assert len(shown(record)) < 256 * 1024


def test_the_work_for_fields_without_room_is_bounded() -> None:
    visited = 0

    class Counting(list[Any]):
        def __iter__(self) -> Any:
            nonlocal visited
            for item in super().__iter__():
                visited += 1
                yield item

    big = Counting(range(10_000))
    shown({f"f{n}": big for n in range(500)})
    assert visited < 40_000


def test_a_long_text_is_not_encoded_to_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(value: Any) -> bytes:
        text = msgspec.json.encode(value)
        sizes.append(len(text))
        return text

    monkeypatch.setattr(shown_module, "_encode", counted)
    shown({"a": 1, "text": "x" * 1_000_000})
    assert max(sizes) < 1000


def test_the_shown_record_is_a_copy() -> None:
    record = {"a": [1]}
    text = shown(record)
    record["a"].append(2)
    assert strict(text) == {"a": [1]}
