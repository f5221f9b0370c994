"""The rules of JSON: the cheap look at a batch finds what the exact look at each record refuses."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.core.json_rules import MAX_DEPTH, check_rules, decode_frame, decode_object, find_refused

KEYS = st.sampled_from(
    ["a", "@source", "@peer", "@received_at", "@flag", "@timestamp", "source", "{", "[", '"@']
)
VALUES = st.recursive(
    st.integers()
    | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**18, 10**19])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
BIG = 2**63


def nested(depth: int, kind: str) -> dict[str, Any]:
    """An object of `depth` levels, itself included."""
    inner: Any = 1
    for _ in range(depth - 1):
        inner = [inner] if kind == "list" else {"k": inner}
    return {"k": inner}


def is_lawful(record: dict[str, Any]) -> bool:
    try:
        check_rules(record)
    except BadData:
        return False
    return True


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=6), st.booleans())
def test_the_look_at_a_batch_finds_what_the_look_at_each_record_refuses(
    records: list[dict[str, Any]], indented: bool
) -> None:
    # Integers of the first level are the fast decoder's to refuse: such records never come here.
    records = [r for r in records if all(type(v) is not int or -BIG <= v < BIG for v in r.values())]
    payloads = [json.dumps(record, indent=2 if indented else None).encode() for record in records]
    assert find_refused(payloads, records) == {i for i, record in enumerate(records) if not is_lawful(record)}


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_depth_64_is_taken_and_65_is_not(kind: str) -> None:
    good, bad = nested(MAX_DEPTH, kind), nested(MAX_DEPTH + 1, kind)
    payloads = [json.dumps(record, separators=(",", ":")).encode() for record in (good, bad, good)]
    assert find_refused(payloads, [good, bad, good]) == {1}
    with pytest.raises(BadData, match="json:depth"):
        check_rules(bad)


@pytest.mark.parametrize(
    "key", ["@source", "\\u0040source", "@\\u0073ource", "\\u0040\\u0073\\u006f\\u0075rce"]
)
def test_a_reserved_key_is_found_however_it_is_written(key: str) -> None:
    payload = f'{{"{key}":1}}'.encode()
    record = decode_object(payload)
    assert record == {"@source": 1}
    assert find_refused([b"{}", payload], [{}, record]) == {1}


def test_a_reserved_name_below_the_first_level_is_a_field_like_any_other() -> None:
    check_rules({"a": {"@source": 1}, "@timestamp": 2})


def test_lines_are_taken_apart_only_where_one_of_them_is_an_object() -> None:
    assert decode_frame(b'{"a":1}\n\nnone\r\n{"b":2}\n') == [b'{"a":1}', b"none\r", b'{"b":2}']
    for payload in (b"one\ntwo\n", b'{\n "a": 1,\n "b": \n}'):
        with pytest.raises(BadData, match="json:syntax"):
            decode_frame(payload)


def test_elements_of_an_array_are_taken_apart() -> None:
    assert decode_frame(b' [ {"a": 1} , 2, [3]]') == [b'{"a": 1}', b"2", b"[3]"]
    with pytest.raises(BadData, match="json:not_object"):
        decode_frame(b"[]")
    with pytest.raises(BadData, match="json:syntax"):
        decode_frame(b"[1,")


@pytest.mark.parametrize(
    ("text", "found"),
    [(b'{"a":1}', {"a": 1}), (b'[{"a":1},2]', [b'{"a":1}', b"2"]), (b'{"a":1}\nx', [b'{"a":1}', b"x"])],
)
def test_a_byte_order_mark_before_the_text_and_one_nul_behind_it_are_skipped(text: bytes, found: Any) -> None:
    for before, behind in ((b"\xef\xbb\xbf", b""), (b"", b"\0"), (b"\xef\xbb\xbf", b"\0"), (b"", b"\0\r\n")):
        assert decode_frame(before + text + behind) == found


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1}\0\0',
        b'{"a":1}\0 \0',
        b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}',
        b'{"a":1}\xef\xbb\xbf',
        b'{"a"\0:1}',
    ],
)
def test_a_second_mark_or_nul_or_one_in_another_place_is_a_syntax_error(payload: bytes) -> None:
    with pytest.raises(BadData, match="json:syntax"):
        decode_frame(payload)
