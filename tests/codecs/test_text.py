"""The codec text."""

from typing import Any

import pytest

from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema

DENSE: list[tuple[bytes, dict[str, Any]]] = [(b"a", {}), ("😀".encode() + b"a" * 10_000, {})]


def sent(payloads: list[bytes]) -> Frames:
    return Frames.of(payloads, "127.0.0.1:5", 1e9)


def test_each_frame_is_a_message(new_codec: Any, now: Now) -> None:
    decoded = new_codec("text").decode(sent([b"one", "数据".encode(), b" ", b"\x1b"]), now)
    assert decoded.records == [{"message": text} for text in ("one", "数据", " ", "\x1b")]
    assert decoded.origins is None


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"x\0", "x"),
        (b"x\0\0", "x\0"),
        (b"x\0\n", "x"),
        (b"x\0\r\n", "x"),
        (b"x\n\0", "x"),
        (b"x\r\n\0", "x"),
        (b"x\0\n\0", "x\0"),
        (b"a\0b", "a\0b"),
        (b"\0x", "\0x"),
        (b"x\n\n\0", "x\n"),
        (b"x\ny\0", "x\ny"),
        (b"x\n", "x"),
        (b"x\r\n", "x"),
        (b"x\n\n", "x\n"),
        (b"x\r", "x\r"),
        (b"x\ny", "x\ny"),
        (b"\nx", "\nx"),
    ],
)
def test_one_line_end_and_one_nul_are_cut_off(new_codec: Any, now: Now, payload: bytes, message: str) -> None:
    assert new_codec("text").decode(sent([payload, b"z"]), now).records == [
        {"message": message},
        {"message": "z"},
    ]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\xef\xbb\xbfx", "x"), (b"\xef\xbb\xbfx\n", "x"), (b"\xef\xbb\xbfx\0", "x"),
        (b"\xef\xbb\xbf\xef\xbb\xbfx", "\ufeffx"), (b"x\xef\xbb\xbfy", "x\ufeffy"),
        (b"x\xef\xbb\xbf", "x\ufeff"), (b"x\n\xef\xbb\xbfy", "x\n\ufeffy"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["text", "auto"])
def test_a_byte_order_mark_before_the_message_is_skipped_and_one_inside_is_kept(
    new_codec: Any, now: Now, name: str, payload: bytes, message: str
) -> None:
    decoded = new_codec(name).decode(sent([b"a", payload, b"z"]), now)
    assert decoded.records == [{"message": "a"}, {"message": message}, {"message": "z"}]


def test_the_bytes_of_a_mark_are_text_in_another_encoding(new_codec: Any, now: Now) -> None:
    assert new_codec("text", encoding="latin-1").decode(sent([b"\xef\xbb\xbfx"]), now).records == [
        {"message": "\xef\xbb\xbfx"}
    ]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\n",
        b"\r\n",
        b"\0",
        b"\0\n",
        b"\n\0",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\0",
        b"\n\n",
        b"\r\n\r\n",
        b"\n\0\n",
    ],
)
def test_nothing_is_empty(new_codec: Any, now: Now, payload: bytes) -> None:
    decoded = new_codec("text").decode(sent([b"x", payload]), now)
    assert [(r.index, r.reason) for r in decoded.rejects] == [(1, "empty")]
    assert decoded.origins == [0]


@pytest.mark.parametrize("payload", [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"cut \xe6\x95"])
def test_what_is_not_utf_8_is_rejected_alone(new_codec: Any, now: Now, payload: bytes) -> None:
    decoded = new_codec("text").decode(sent([b"x", payload, b"y"]), now)
    assert [(r.index, r.reason) for r in decoded.rejects] == [(1, "text:utf8")]
    assert decoded.records == [{"message": "x"}, {"message": "y"}]


def test_two_halves_of_a_character_in_two_frames_do_not_join(new_codec: Any, now: Now) -> None:
    decoded = new_codec("text").decode(sent([b"\xe6\x95", b"\xb0"]), now)
    assert len(decoded.rejects) == 2


@pytest.mark.parametrize(
    ("encoding", "text"), [("latin-1", "café"), ("gb18030", "数据"), ("shift_jis", "ソ表")]
)
def test_other_encodings_are_read(new_codec: Any, now: Now, encoding: str, text: str) -> None:
    payload = text.encode(encoding)
    assert (
        new_codec("text", encoding=encoding).decode(sent([payload] * 2), now).records
        == [{"message": text}] * 2
    )


def test_what_is_not_in_another_encoding_is_rejected(new_codec: Any, now: Now) -> None:
    decoded = new_codec("text", encoding="gb18030").decode(sent([b"\x81\x0a!", b"ok"]), now)
    assert [(r.index, r.reason) for r in decoded.rejects] == [(0, "text:encoding")]


def test_a_schema_is_refused(new_codec: Any, schema: Schema) -> None:
    with pytest.raises(ValueError, match="needs the codec json"):
        new_codec("text", schema)
