"""The codec regex."""

from typing import Any

import pytest

from streamd.core.errors import ConfigError
from tests.codecs.cases import cases_of, check, codec_of, decoded, decoded_together, schema_of

OPTIONS = [{"pattern": "(?P<ts>[^ ]*)(?: (?P<sensor>[^ ]+))?(?: (?P<value>[^ ]+))?"}]
PIECES = [
    b"2026-01-31T08:00:00Z",
    b"s-1",
    b" ",
    b"21.5",
    b",",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"@source",
    b"\xef\xbb\xbf",
]
DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b"a", {"pattern": "(?P<a>.)"}),
    (b"abc", {"pattern": "(?P<a>.)(?P<b>.)(?P<c>.)"}),
]


@pytest.mark.parametrize("case", cases_of("regex"))
def test_a_frame_gives_these_records_or_reasons(case: dict[str, Any]) -> None:
    check("regex", case)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(a+)+b", "named group"),
        ("(?P<a>(a+)+)b", "exponential time"),
        ("(?P<a>", "no regular expression"),
        ("(?P<a>.*).*.*.*.*.*x", "may take too long"),
    ],
)
def test_a_pattern_with_a_fault_or_with_unbounded_work_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        codec_of("regex", pattern=pattern)
    assert error.value.keys == ("pattern",)


def test_a_text_that_would_take_too_long_is_rejected() -> None:
    codec = codec_of("regex", pattern="(?P<a>.*),(?P<b>.*)")
    assert decoded(codec, b"1,2", b"x" * 65_536) == ([{"a": "1", "b": "2"}], ["regex:length"])
    linear = codec_of("regex", pattern="(?P<a>[^,]*),(?P<b>.*)")
    assert decoded(linear, b"x" * 65_536) == ([], ["regex:pattern"])


def test_options_that_contradict_the_schema_are_refused() -> None:
    schema = schema_of(ts="timestamp")
    with pytest.raises(ValueError, match=r"the schema case requires .*ts.*\(\?P<ts>"):
        codec_of("regex", schema, pattern="(?P<a>.*)")
    with pytest.raises(ValueError, match="without a schema"):
        codec_of("regex", schema, pattern="(?P<ts>.*)", types="auto")


def test_good_frames_are_decoded_together() -> None:
    decoded_together(codec_of("regex", pattern="(?P<a>.*)"), b"a", b"b c")
