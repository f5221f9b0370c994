"""The codec graphite."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codecs.cases import WIDE_NAMES, cases_of, check, codec_of, decoded, decoded_together, schema_of

PIECES = [
    b"servers.web1.load", b"a;b=c", b" ", b"1.5", b"-1", b"N", b"nan", b"1769846400", b"\n", b"\t", b"\r\n",
    b";", b"=", b"\x80\x02", b"\0\0\0\x10\x80\x02", b"1e999", b"\xff", b"a 1 0\n", b"\0", b"\xef\xbb\xbf",
]  # fmt: skip
DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b"a 1\n" * 2000, {}),
    (b"a;b= 1\n" * 2000, {}),
    (("a" + "".join(f";{name}=" for name in WIDE_NAMES) + " 1").encode(), {}),
]


@pytest.mark.parametrize("case", cases_of("graphite"))
def test_a_frame_gives_these_records_or_reasons(case: dict[str, Any]) -> None:
    check("graphite", case)


def test_the_frames_that_carbon_reads_as_pickles_are_refused_by_name() -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        body = pickle.dumps([("a.b", (1769846400, 1.5))], protocol)
        for frame in (body, len(body).to_bytes(4, "big") + body):
            assert decoded(codec_of("graphite"), frame) == ([], ["graphite:pickle"])


def test_a_reject_says_what_is_wrong_and_keeps_the_bytes() -> None:
    codec = codec_of("graphite")
    records, reasons = decoded(codec, b"a 1 0", b"a b c d", b"a 2 0")
    assert [record["value"] for record in records] == [1.0, 2.0]
    assert reasons == ["graphite:syntax"]


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("size", [10, 64 * 1024])
def test_a_frame_of_many_lines_is_one_record_for_each(size: int, tagged: bool) -> None:
    line = b"a;b=c 1 5\n" if tagged else b"a 1 5\n"
    records, reasons = decoded(codec_of("graphite"), line * (size // len(line)))
    assert (len(records), reasons) == (size // len(line), [])


PATHS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters=";=\ufeff"),
    min_size=1,
)


@given(
    path=PATHS,
    tags=st.dictionaries(PATHS, PATHS, max_size=3),
    value=st.floats(allow_nan=False, allow_infinity=False),
    seconds=st.integers(0, 253402300799),
    typed=st.booleans(),
)
def test_what_is_written_as_a_line_is_read_again(
    path: str, tags: dict[str, str], value: float, seconds: int, typed: bool
) -> None:
    line = ";".join([path, *(f"{name}={text}" for name, text in tags.items())]) + f" {value!r} {seconds}"
    schema = schema_of(timestamp="timestamp", path="str", tags="json", value="float")
    records, reasons = decoded(codec_of("graphite", schema, typed=typed), line.encode(), b"a 1 0")
    assert reasons == []
    record = records[0]
    assert (record["path"], record["tags"], record["value"]) == (path, tags, value)


def test_good_frames_are_decoded_together() -> None:
    decoded_together(codec_of("graphite"), b"a 1 5\n", b"b;c=d 2 6")
