from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.codecs.text import Text as TextCodec
from streamd.core.contracts import RecordOrigin
from streamd.core.errors import BadData
from streamd.core.now import Now
from streamd.encoders.text import Text
from streamd.encoding.separated import Separated
from streamd.framing.newline import Newline
from streamd.framing.octet_counting import OctetCounting

OPTIONS: list[dict[str, Any]] = [{}, {"line_breaks": "space"}, {"line_breaks": "escape"}]
ORIGIN = RecordOrigin(1e9, "10.0.0.1:1", "lab")
TEXTS = st.text(min_size=1).filter(lambda text: not text.startswith("\ufeff") and text[-1] not in "\r\n\0")


def encoder(**options: Any) -> Text:
    return Text(Text.Config(**options))


def line_of(value: Any, **options: Any) -> bytes:
    return encoder(**options).encode_one({"message": value, "n": 1}, ORIGIN)


def stream_of(encoder: Text, separation: Any, texts: list[str]) -> tuple[bytes, list[str]]:
    separated = Separated(encoder, separation, add_metadata=False)
    done = separated.encode([{"message": text} for text in texts], lambda _: ORIGIN)
    return b"".join(done.messages), [bad.reason for bad in done.rejects.values()]


def read(frames: list[bytes]) -> list[str]:
    codec = TextCodec(TextCodec.Config(), None)
    return [codec.decode_one(frame, Now(1e9, 0.0))["message"] for frame in frames]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("disk full", b"disk full"),
        ("数据", "数据".encode()),
        (b"\0\xff", b"\0\xff"),
        (5, b"5"),
        ([1], b"[1]"),
    ],
)
def test_the_field_is_written_as_it_is(value: Any, written: bytes) -> None:
    assert line_of(value) == written
    assert Text(Text.Config(field="n")).encode_one({"message": value, "n": 1}, ORIGIN) == b"1"


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "text:missing"), ("", "text:empty"), (b"", "text:empty"), ("\ud800", "text:utf8")],
)
def test_a_record_without_a_text_is_rejected(value: Any, reason: str) -> None:
    for record in ({"message": value}, {"message": value, "n": 1}):
        with pytest.raises(BadData) as refused:
            encoder().encode_one(record, ORIGIN)
        assert refused.value.reason == reason


def test_line_breaks_are_kept_made_blanks_or_escaped() -> None:
    text = "a\r\nb\nc\rd\\n"
    assert line_of(text) == b"a\r\nb\nc\rd\\n"
    assert line_of(text, line_breaks="space") == b"a b c d\\n"
    assert line_of(text, line_breaks="escape") == b"a\\r\\nb\\nc\\rd\\\\n"


@given(st.lists(TEXTS, max_size=4))
@settings(max_examples=100)
def test_the_codec_reads_the_same_texts_again(texts: list[str]) -> None:
    stream, rejects = stream_of(encoder(), "octet_counting", texts)
    framer = OctetCounting(OctetCounting.Config(), 1 << 16, "truncate")
    assert (read(framer.feed(stream)), rejects) == (texts, [])


@given(st.lists(TEXTS, max_size=4), st.sampled_from(["keep", "space", "escape"]))
@settings(max_examples=100)
def test_each_line_of_a_file_is_one_text(texts: list[str], line_breaks: str) -> None:
    stream, rejects = stream_of(encoder(line_breaks=line_breaks), "newline", texts)
    lines = read(Newline(Newline.Config(), 1 << 16, "truncate").feed(stream))
    if line_breaks == "keep":
        assert lines == [text for text in texts if "\n" not in text]
        assert rejects == ["newline"] * (len(texts) - len(lines))
    elif line_breaks == "space":
        assert lines == [text.replace("\r\n", " ").replace("\r", " ").replace("\n", " ") for text in texts]
    else:
        assert [_unescaped(line) for line in lines] == texts


def _unescaped(line: str) -> str:
    parts = iter(line)
    return "".join(
        {"n": "\n", "r": "\r", "\\": "\\"}[next(parts)] if part == "\\" else part for part in parts
    )
