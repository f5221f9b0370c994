import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.codecs.syslog import Syslog as SyslogCodec
from streamd.core.contracts import RecordOrigin
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.encoders.syslog import Syslog

ORIGIN = RecordOrigin(1_769_846_400.25, "10.0.0.1:514", "lab")
STAMP = "2026-01-31T08:00:00.250000Z"
KEYS = [
    "timestamp", "facility", "severity", "hostname", "appname", "procid", "msgid", "structured_data",
    "message",
]  # fmt: skip
OPTIONS = [{}, {"format": "rfc3164", "appname": "app"}, {"extra_id": "fields@32473"}]
FULL = {
    "timestamp": "2003-10-11T22:14:15.003000Z",
    "facility": 4,
    "severity": "crit",
    "hostname": "mymachine.example.com",
    "appname": "su",
    "procid": 4711,
    "msgid": "ID47",
    "structured_data": {"a@1": {"x": 'q"]\\', "y": ["1", 2, True]}, "b": {}},
    "message": "'su root' failed\nfor lonvick",
}


def message(record: dict[str, Any], **options: Any) -> bytes:
    return Syslog(Syslog.Config(**options)).encode_one(record, ORIGIN)


def test_every_field_of_rfc_5424_has_its_place() -> None:
    assert message(FULL) == (
        b"<34>1 2003-10-11T22:14:15.003000Z mymachine.example.com su 4711 ID47"
        b' [a@1 x="q\\"\\]\\\\" y="1" y="2" y="true"][b] \'su root\' failed\nfor lonvick'
    )


def test_what_a_record_does_not_say_is_said_for_it() -> None:
    assert message({"message": "x"}) == f"<13>1 {STAMP} 10.0.0.1 - - - - x".encode()
    options = {"facility": "local7", "severity": "debug", "appname": "lab"}
    assert (
        message({"message": b"\xff"}, **options) == f"<191>1 {STAMP} 10.0.0.1 lab - - - ".encode() + b"\xff"
    )


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("10.0.0.1:514", b"10.0.0.1"), ("[2001:db8::1]:514", b"2001:db8::1"), ("10.0.0.0/24", b"10.0.0.0/24"),
        ("pid=1,uid=0,gid=0", b"-"), (None, b"-"), ("", b"-"), ("/var/log/a b", b"-"),
    ],
)  # fmt: skip
def test_the_sender_is_the_host(peer: str | None, host: bytes) -> None:
    encoder = Syslog(Syslog.Config())
    assert encoder.encode_one({"message": "x"}, ORIGIN._replace(peer=peer)).split(b" ")[2] == host


def test_fields_without_a_place_are_in_the_message_or_in_an_element_or_left_out() -> None:
    record = {"sensor": "s-1", "value": 1.5}
    assert message(record).endswith(b' - {"sensor":"s-1","value":1.5}')
    assert message(record | {"message": "x"}).endswith(b" - - - - x")
    extra = {"extra_id": "fields@1"}
    assert message(record, **extra).endswith(b' - - - [fields@1 sensor="s-1" value="1.5"]')
    both = record | {"message": "x", "structured_data": {"fields@1": {"value": "its own"}}}
    assert message(both, **extra).endswith(b' [fields@1 sensor="s-1" value="its own"] x')
    assert message({}).endswith(b" - - - -")


def test_rfc_3164_has_no_year_no_structured_data_and_a_tag() -> None:
    old = {"format": "rfc3164"}
    assert message(FULL, **old) == (
        b"<34>Oct 11 22:14:15 mymachine.example.com su[4711]: 'su root' failed\nfor lonvick"
    )
    record = {"timestamp": "2026-02-01T23:30:00Z", "appname": "app", "message": "x"}
    assert message(record, timezone="Asia/Shanghai", **old) == b"<13>Feb  2 07:30:00 10.0.0.1 app: x"


def test_a_byte_order_mark_of_the_message_is_not_taken_for_that_of_the_format() -> None:
    assert message({"message": "\ufeffx"}).endswith(b" - \xef\xbb\xbf\xef\xbb\xbfx")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"facility": 24}, "syslog:priority"),
        ({"facility": "local8"}, "syslog:priority"),
        ({"facility": True}, "syslog:priority"),
        ({"severity": -1}, "syslog:priority"),
        ({"severity": 1.5}, "syslog:priority"),
        ({"hostname": "two words"}, "syslog:header"),
        ({"hostname": "ü"}, "syslog:header"),
        ({"appname": "a" * 49}, "syslog:header"),
        ({"procid": ["1"]}, "syslog:header"),
        ({"msgid": "a\nb"}, "syslog:header"),
        ({"structured_data": "[a]"}, "syslog:structured_data"),
        ({"structured_data": {"a": "b"}}, "syslog:structured_data"),
        ({"structured_data": {"a b": {}}}, "syslog:structured_data"),
        ({"structured_data": {"a": {"b]": "x"}}}, "syslog:structured_data"),
        ({"structured_data": {"a" * 33: {}}}, "syslog:structured_data"),
        ({"timestamp": "yesterday"}, "timestamp:syntax"),
        ({"message": "\ud800"}, "row:json"),
        ({"structured_data": {"a": {"b": "\ud800"}}}, "row:json"),
        ({"value": float("nan")}, "row:not_finite"),
    ],
)
def test_what_the_format_has_no_place_for_is_refused(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadData) as refused:
        message(record)
    assert refused.value.reason == reason


def test_a_tag_of_rfc_3164_has_no_colon_and_no_year_before_the_first_is_written() -> None:
    with pytest.raises(BadData, match="no tag of RFC 3164"):
        message({"appname": "a:b"}, format="rfc3164")
    first = {"timestamp": "0001-01-01T00:00:00Z", "appname": "a"}
    with pytest.raises(BadData, match="timestamp:range"):
        message(first, format="rfc3164", timezone="America/New_York")


@pytest.mark.parametrize(
    "options",
    [
        {"facility": "local8"},
        {"severity": "warn"},
        {"appname": "a b"},
        {"extra_id": "a b"},
        {"timezone": "Mars"},
        {"timezone": "Asia/Shanghai"},
        {"format": "rfc3164", "extra_id": "fields@1"},
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        message({}, **options)


GRAMMAR = re.compile(
    rb"<(?:0|[1-9]\d{0,2})>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z"
    rb" [!-~]{1,255} [!-~]{1,48} [!-~]{1,128} [!-~]{1,32}"
    rb" (?:-|(?:\[[!#-<>-\\^-~]{1,32}(?: [!#-<>-\\^-~]{1,32}=\"(?:[^\"\\\]]|\\.)*\")*\])+)(?: .*)?",
    re.DOTALL,
)
"""SYSLOG-MSG of RFC 5424 section 6."""


def test_messages_are_of_the_grammar_of_the_rfc() -> None:
    for record in (FULL, {}, {"message": "x"}, {"a": 1}, FULL | {"structured_data": {"e": {"k": '\\"]\n'}}}):
        assert GRAMMAR.fullmatch(message(record)), record
        assert GRAMMAR.fullmatch(message(record, extra_id="fields@32473")), record


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8).filter("-".__ne__)
NAME = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='="]'), min_size=1, max_size=8
)
RECORDS = st.fixed_dictionaries(
    {
        "timestamp": st.just("2026-01-31T08:00:00.000001Z"),
        "facility": st.integers(0, 23),
        "severity": st.integers(0, 7),
        "hostname": WORD,
        "appname": WORD.filter(lambda text: not text.endswith(":")),
        "message": TEXT.filter(lambda text: text == text.rstrip("\n\0")),
    },
    optional={
        "procid": WORD,
        "msgid": WORD,
        "structured_data": st.dictionaries(
            NAME.filter(lambda text: "[" not in text),
            st.dictionaries(NAME, TEXT | st.lists(TEXT, min_size=2, max_size=3), max_size=3),
            min_size=1,
            max_size=2,
        ),
    },
)


@settings(max_examples=150)
@given(RECORDS)
def test_what_is_encoded_is_decoded_again(record: dict[str, Any]) -> None:
    codec = SyslogCodec(SyslogCodec.Config(), None)
    decoded = codec.decode(Frames.of([message(record)], "p", 1e9), Now(1e9, 1.0))
    assert [decoded.records, decoded.rejects] == [[record], []]
