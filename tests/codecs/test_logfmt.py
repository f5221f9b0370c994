"""The codec logfmt, and its grammar in `shaping/logfmt.py`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codecs.cases import (
    NAMES,
    WIDE_NAMES,
    cases_of,
    check,
    codec_of,
    decoded,
    decoded_together,
    schema_of,
)

PIECES = [
    b"level=warn", b'msg="disk full"', b"retry", b" ", b"=", b'"', b"\\", b"\\u00e9", b'"\\ud83d\\ude00"',
    b"a=", b"a=1 ", b"\n", b"\t", b"\0", b"@source=x", b"\xff", b"\xc2\xa0", b'ts="2026-01-31T08:00:00Z" ',
    b"sensor=s-1 value=21.5 ",
]  # fmt: skip
DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b"a=\n" * 2000, {}),
    (" ".join(f"{name}=" for name in NAMES).encode(), {}),
    (("a= " + " ".join(WIDE_NAMES)).encode(), {}),
]


@pytest.mark.parametrize("case", cases_of("logfmt"))
def test_a_frame_gives_these_records_or_reasons(case: dict[str, Any]) -> None:
    check("logfmt", case)


def test_auto_types_and_a_schema_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="without a schema"):
        codec_of("logfmt", schema_of(n="int"), types="auto")


@pytest.mark.parametrize(
    "hostile",
    ['a="' + "\\" * 65_000, "a" * 65_000 + '"', 'a="\\"' * 16_000, "a=1 " * 16_000 + '"', 'k=\\"' * 16_000],
)
def test_hostile_lines_are_decoded_in_work_that_grows_with_their_length(hostile: str) -> None:
    records, reasons = decoded(codec_of("logfmt"), hostile.encode())
    assert len(records) + len(reasons) == 1


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(fields=st.dictionaries(st.text(st.sampled_from("abc.-é\xa0"), min_size=1), TEXTS, min_size=1))
def test_what_is_written_with_the_escapes_of_go_logfmt_is_read_again(fields: dict[str, str]) -> None:
    def quoted(text: str) -> str:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
        units = [text[at] if text[at] >= " " else f"\\u{ord(text[at]):04x}" for at in range(len(text))]
        return f'"{"".join(units)}"'

    line = " ".join(f"{key}={quoted(value)}" for key, value in fields.items())
    assert decoded(codec_of("logfmt"), line.encode(), b"a=1") == ([fields, {"a": "1"}], [])


def test_good_frames_are_decoded_together() -> None:
    decoded_together(codec_of("logfmt"), b"a=1 b", b'c="d"')
    schema = schema_of(n="int", b={"type": "bool", "required": False})
    typed = codec_of("logfmt", schema, typed=True)
    decoded_together(typed, b"n=1 b", b'n="2"')
    assert decoded(typed, b"n=1 b", b'n="2"') == ([{"n": 1, "b": True}, {"n": 2, "b": None}], [])
