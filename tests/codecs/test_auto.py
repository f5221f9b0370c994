"""The codec auto."""

import time
from typing import Any

import pytest

from streamd.core.contracts import AnyCodec
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema

DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b"a", {}),
    (b"a\n{}\n" * 2000, {}),
    (b"[[],{}]" * 500 + b"\n{}", {}),
]


def sent(payloads: list[bytes]) -> Frames:
    return Frames.of(payloads, "127.0.0.1:5", 1e9)


@pytest.fixture
def codec(new_codec: Any) -> AnyCodec:
    return new_codec("auto")  # type: ignore[no-any-return]  # a fixture's type is not known here


def test_json_gives_its_fields_and_the_rest_messages(codec: AnyCodec, now: Now) -> None:
    payloads = [b'{"a":1}\n', "数据".encode(), b'[{"a":2},{"a":3}]', b'{"a":4}\n{"a":5}\n', b"6"]
    decoded = codec.decode(sent(payloads), now)
    assert decoded.records == [
        {"a": 1}, {"message": "数据"}, {"a": 2}, {"a": 3}, {"a": 4}, {"a": 5}, {"message": "6"},
    ]  # fmt: skip
    assert decoded.origins == [0, 1, 2, 2, 3, 3, 4]
    assert decoded.rejects == []
    assert codec.counts == {}


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1', b"[Info] started", b'{"a":1e999}', b'{"a":9223372036854775808}',
        b'{"a":[9223372036854775808]}',
        b'{"a":"\\ud800"}', b"[1,2]", b"[]", b'[{"a":1},2]', b'{"a":' * 65 + b"1" + b"}" * 65, b"[" * 5000,
        b'{"@source":"forged"}', b' {"a":}', b'\xef\xbb\xbf{"a":', b"{",
    ],
    ids=lambda payload: repr(payload)[:40],
)  # fmt: skip
def test_what_begins_like_json_and_is_none_is_a_message_and_counted(
    codec: AnyCodec, now: Now, payload: bytes
) -> None:
    decoded = codec.decode(sent([b'{"a":1}', payload, b'{"a":2}']), now)
    assert decoded.records == [{"a": 1}, {"message": payload.decode("utf-8-sig")}, {"a": 2}]
    assert codec.counts == {"auto_fallback": 1}
    assert decoded.rejects == []


@pytest.mark.parametrize(
    ("payload", "records"),
    [
        (b'{"a":1}\0', [{"a": 1}]),
        (b"hello\0", [{"message": "hello"}]),
        (b"hello\0\n", [{"message": "hello"}]),
        (b'{"a":1}\0\0', [{"message": '{"a":1}\0'}]),
        (b'hello\0\n{"a":1}\0\n', [{"message": "hello"}, {"a": 1}]),
        (b'\xef\xbb\xbf{"a":1}\0', [{"a": 1}]),
    ],
)
def test_one_nul_at_the_end_is_no_part_of_the_frame(
    codec: AnyCodec, now: Now, payload: bytes, records: list[Any]
) -> None:
    decoded = codec.decode(sent([payload, b"x"]), now)
    assert (decoded.records, decoded.rejects) == ([*records, {"message": "x"}], [])


def test_each_message_that_began_like_json_is_counted_once(codec: AnyCodec, now: Now) -> None:
    codec.decode(sent([b"{", b"{"]), now)
    codec.decode(sent([b"x"]), now)
    codec.decode(sent([b"["]), now)
    assert codec.counts == {"auto_fallback": 3}


def test_a_text_among_lines_of_json_is_a_message_of_its_own(codec: AnyCodec, now: Now) -> None:
    decoded = codec.decode(sent([b'hello\r\n{"a":1}\n{broken\n']), now)
    assert decoded.records == [{"message": "hello\r"}, {"a": 1}, {"message": "{broken"}]
    assert codec.counts == {"auto_fallback": 1}


def test_lines_without_an_object_stay_one_message(codec: AnyCodec, now: Now) -> None:
    decoded = codec.decode(sent([b"Traceback:\n  line 1 {\n}\n"]), now)
    assert decoded.records == [{"message": "Traceback:\n  line 1 {\n}"}]


@pytest.mark.parametrize("payload", [b"\xff\xfe", b'{"a":"\xff"}', b"[\xff"])
def test_invalid_utf_8_is_rejected(codec: AnyCodec, now: Now, payload: bytes) -> None:
    decoded = codec.decode(sent([payload, b"x"]), now)
    assert [(r.index, r.reason, r.element) for r in decoded.rejects] == [(0, "text:utf8", False)]
    assert codec.counts == {}


def test_a_line_that_is_invalid_utf_8_is_rejected_alone(codec: AnyCodec, now: Now) -> None:
    decoded = codec.decode(sent([b'{"a":1}\n\xff\n{"a":2}']), now)
    assert decoded.records == [{"a": 1}, {"a": 2}]
    assert [(r.index, r.payload, r.element) for r in decoded.rejects] == [(0, b"\xff", True)]


@pytest.mark.parametrize("payload", [b"", b"\n", b"\r\n", b"\n\n", b"\0\0"])
def test_nothing_is_empty(codec: AnyCodec, now: Now, payload: bytes) -> None:
    decoded = codec.decode(sent([b"x", payload]), now)
    assert [(r.index, r.reason) for r in decoded.rejects] == [(1, "empty")]


def test_a_schema_is_refused(new_codec: Any, schema: Schema) -> None:
    with pytest.raises(ValueError, match="needs the codec json"):
        new_codec("auto", schema)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a": 1',
        b' \t{"a": 1',
        b"\xef\xbb\xbf{a}",
        b'[{"a": 1',
        b'[ {"a": 1}, 2]',
        b'text\n{"a": 1',
        b'text\r\n\t[{"a": 1',
        b"{}{}",
    ],
)
def test_redacted_json_with_a_fault_is_no_message_whose_fields_cannot_be_found(
    codec: AnyCodec, now: Now, payload: bytes
) -> None:
    assert codec.decode(sent([payload]), now).records == [{"message": read(payload)}]
    codec.redacted = True
    decoded = codec.decode(sent([payload]), now)
    assert decoded.records == []
    assert [(bad.payload, bad.reason, bad.element) for bad in decoded.rejects] == [
        (payload, "auto:fields", False)
    ]


def read(payload: bytes) -> str:
    return payload.removeprefix(b"\xef\xbb\xbf").decode()


def test_redacted_text_is_still_a_message(codec: AnyCodec, now: Now) -> None:
    codec.redacted = True
    texts = [b"text", b"[info] a {b}", b"a {", b"[1, 2]", b"6", b"[" * 9]
    decoded = codec.decode(sent(texts), now)
    assert decoded.records == [{"message": text.decode()} for text in texts]
    assert codec.decode(sent([b'{"a":1}', b'[{"a":2}]']), now).records == [{"a": 1}, {"a": 2}]


def test_a_redacted_line_with_a_fault_costs_only_itself(codec: AnyCodec, now: Now) -> None:
    codec.redacted = True
    decoded = codec.decode(sent([b'{"a":1}\ntext\n{"a":\n{"a":2}']), now)
    assert decoded.records == [{"a": 1}, {"message": "text"}, {"a": 2}]
    assert [(bad.payload, bad.reason, bad.element) for bad in decoded.rejects] == [
        (b'{"a":', "auto:fields", True)
    ]


def test_looking_for_objects_in_a_text_costs_little(codec: AnyCodec, now: Now) -> None:
    codec.redacted = True
    for text in (b"\n" * 60000 + b"{", b" " * 60000 + b"x{", b"[\n" * 30000 + b"x{"):
        before_s = time.process_time()
        codec.decode(sent([text]), now)
        assert time.process_time() - before_s < 20, "quadratic work would take minutes"
