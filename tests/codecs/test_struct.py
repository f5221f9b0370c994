"""The codec struct, and the layouts of `shaping/binary_layout.py`."""

import re
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import ConfigError
from streamd.shaping.binary_layout import BinaryLayout
from tests.codecs.cases import cases_of, check, codec_of, decoded, decoded_together, schema_of

LAYOUT = "<Q ts, 8s sensor, I seq, f value"
OPTIONS = [{"layout": f"{LAYOUT}, 7x"}]
"""Of 31 bytes, so that no text of the suite of all codecs holds several records."""
GOOD = struct.pack("<Q8sIf", 1769846400, b"s-1", 7, 21.5)
PIECES = [
    GOOD + b"1234567",
    GOOD[:12],
    GOOD[12:],
    b"\0" * 8,
    b"\xff" * 8,
    b"\x7f",
    b"\xc0\x7f",
    b"s-1\0\0\0\0\0",
    b"\0",
]
DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b"\x81" * 2000, {"layout": "<b a"}),
    (b"a" * 60_000, {"layout": "<60000s a"}),
    (b"\xff" * 60_000, {"layout": "<6000B a"}),
]


@pytest.mark.parametrize("case", cases_of("struct"))
def test_a_frame_gives_these_records_or_reasons(case: dict[str, Any]) -> None:
    check("struct", case)


def test_texts_may_stay_bytes_with_all_their_nuls() -> None:
    codec = codec_of("struct", layout="<4s a, c b", strings="bytes")
    assert decoded(codec, b"ab\0c\xff") == ([{"a": b"ab\0c", "b": b"\xff"}], [])
    schema = schema_of(a="bytes", b="str")
    codec = codec_of("struct", schema, layout="<4s a, c b", strings="bytes")
    assert decoded(codec, b"ab\0c\xff") == ([], ["schema:type"])


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("", 'begin with the byte order: "<"'),
        ("Q ts", 'begin with the byte order: "<"'),
        ("<", "nothing between two commas"),
        ("<Q ts,", "item 2, '': there is nothing between two commas"),
        ("<Q ts, 8z sensor", "item 2, '8z sensor': write a code and a name"),
        ("<Q ts, uint16_t level", "write the code of the type: H level"),
        ("<float value", "write the code of the type: f value"),
        ("<char[12] name", "write the code of the type: 12s name"),
        ("<unit32 n", "write the code of the type: I n"),
        ("<Q", "write a name after it, like Q value, or 8x to skip"),
        ("<8s", "write a name after it, like 8s value, or 8x to skip"),
        ("<3H", "write a name after it, like 3H value, or 6x to skip"),
        ("<Q ts, I ts", "the name 'ts' occurs twice"),
        ("<Q @source", "does not begin with @"),
        ('<Q a"b', "no quote"),
        ("<0f x", "a count is 1 or more"),
        ("<2x pad", "x skips bytes and has no name"),
        ("<4x", "it names no field"),
        ("<n size", "only in the native order @"),
        ("<99999999999s name", "more than 1,048,576"),
        ("<P pointer", "write a code and a name"),
    ],
)
def test_a_layout_with_a_fault_is_refused_with_a_suggestion(layout: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        BinaryLayout(layout)


def test_a_fault_is_named_at_its_option() -> None:
    with pytest.raises(ConfigError, match="byte order") as error:
        codec_of("struct", layout="Q ts")
    assert error.value.keys == ("layout",)
    with pytest.raises(ValueError, match="requires ts: name it in the layout"):
        codec_of("struct", schema_of(ts="int"), layout="<Q time")


@pytest.mark.parametrize(
    ("layout", "option", "words"),
    [
        ("<H n, d x", {"strings": "latin-1"}, "the layout has no s, p or c: remove strings"),
        ("<H n, 2s s", {"nan": "null"}, "the layout has no e, f or d: remove nan"),
    ],
)
def test_an_option_that_does_nothing_for_the_layout_is_refused(
    layout: str, option: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        codec_of("struct", layout=layout, **option)
    assert error.value.keys == tuple(option)
    for code in ("2s", "3p", "c"):
        codec_of("struct", layout=f"<{code} a", strings="bytes")
    for code in ("e", "2f", "d"):
        codec_of("struct", layout=f"<{code} a", nan="null")


def test_a_good_batch_and_one_with_a_bad_record_have_the_same_records() -> None:
    codec = codec_of("struct", layout=LAYOUT)
    bad = struct.pack("<Q8sIf", 1, b"s", 2, float("nan"))
    good, none = decoded(codec, GOOD, GOOD + GOOD)
    assert none == []
    assert decoded(codec, GOOD, bad, GOOD + bad + GOOD, GOOD[:-1]) == (
        good,
        ["struct:nan"] * 2 + ["struct:size"],
    )


CODES = {
    "b": st.integers(-128, 127), "H": st.integers(0, 65535), "i": st.integers(-(2**31), 2**31 - 1),
    "q": st.integers(-(2**63), 2**63 - 1), "Q": st.integers(0, 2**63 - 1), "?": st.booleans(),
    "d": st.floats(allow_nan=False, allow_infinity=False),
    "f": st.floats(width=32, allow_nan=False, allow_infinity=False),
}  # fmt: skip


@given(
    data=st.data(),
    codes=st.lists(st.sampled_from(sorted(CODES)), min_size=1, max_size=6),
    order=st.sampled_from("<>"),
)
def test_what_struct_has_packed_is_read_again(data: st.DataObject, codes: list[str], order: str) -> None:
    values = [data.draw(CODES[code]) for code in codes]
    layout = order + ", ".join(f"{code} f{n}" for n, code in enumerate(codes))
    packed = struct.pack(order + "".join(codes), *values)
    record = {f"f{n}": value for n, value in enumerate(values)}
    assert decoded(codec_of("struct", layout=layout), packed, packed * 2) == ([record] * 3, [])


@given(value=st.one_of(*CODES.values()), kind=st.sampled_from(["int", "float", "bool", "timestamp", "str"]))
def test_typed_records_are_those_that_the_schema_makes_one_by_one(value: Any, kind: str) -> None:
    code = "?" if isinstance(value, bool) else "q" if isinstance(value, int) else "d"
    schema, packed = schema_of(x=kind), struct.pack(f"<{code}", value)
    outcomes = [
        decoded(codec_of("struct", schema, typed=typed, layout=f"<{code} x"), *[packed] * count)
        for typed in (False, True)
        for count in (1, 2)
    ]
    assert outcomes[0][0] * 2 == outcomes[1][0]
    assert outcomes[:2] == outcomes[2:]


def test_good_frames_are_decoded_together() -> None:
    decoded_together(codec_of("struct", layout=LAYOUT), GOOD, GOOD * 2)
