import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamd.core.redact_settings import RedactSettings
from streamd.redaction.redactor import Redactor

KEY = b"0f1e2d3c4b5a6978"


def redactor(*rules: dict[str, Any]) -> Redactor:
    hashes = any(rule["action"] == "hash" for rule in rules)
    options = {"rules": list(rules)} | ({"key": "k"} if hashes else {})
    return Redactor(RedactSettings.model_validate(options), KEY if hashes else None)


MASK_EMAIL = {"detect": ["email"], "action": "mask"}


def test_a_name_is_found_at_any_depth_unless_nested_is_false() -> None:
    record = {"user": "ann", "a": {"user": "bob", "b": [{"user": "eve"}, [{"user": 5}]]}, "user.x": 1}
    mask = {"fields": ["user"], "action": "mask"}
    assert redactor(mask).record(record) == {
        "user": "***", "a": {"user": "***", "b": [{"user": "***"}, [{"user": "***"}]]}, "user.x": 1,
    }  # fmt: skip
    assert redactor(mask | {"nested": False}).record(record) == record | {"user": "***"}
    drop = redactor({"fields": ["user"], "action": "drop"})
    assert drop.record(record) == {"a": {"b": [{}, [{}]]}, "user.x": 1}
    assert drop.counts == {"drop_user": 4}
    assert record["user"] == "ann"


def test_values_that_are_no_text() -> None:
    values = [5, 5.0, True, None, {"b": 1, "a": "x"}, ["x", None, ["y"]], "", 10**5000, float("nan"), b"x"]
    masked = [redactor({"fields": ["v"], "action": "mask"}).record({"v": v})["v"] for v in values]
    assert masked == ["***", "***", "***", None, "***", ["***", None, "***"], *["***"] * 4]
    hashing = redactor({"fields": ["v"], "action": "hash"})
    hashed = [hashing.record({"v": v})["v"] for v in [*values, "5", {"a": "x", "b": 1}, '{"a":"x","b":1}']]
    assert hashed[0] == hashed[1] == hashed[10]
    assert hashed[4] == hashed[11] == hashed[12]
    assert hashed[5][1] is None
    assert hashed[5][2] == hashing.record({"v": '["y"]'})["v"]
    assert hashed[3] is None
    assert all(len(one) == 32 for one in hashed if isinstance(one, str))


def test_the_last_characters_stay_if_most_of_the_text_is_gone() -> None:
    keeping = redactor({"fields": ["v"], "action": "mask", "keep_last": 4})
    values = ["4111111111111111", "12345678", "1234567", "", 123456789, {"a": "secret"}]
    assert [keeping.record({"v": v})["v"] for v in values] == [
        "***1111", "***5678", "***", "***", "***6789", "***",
    ]  # fmt: skip
    digits = redactor({"fields": ["v"], "action": "mask", "keep_last": 4, "mask": "4"})
    assert digits.record({"v": "41234"})["v"] == "4"


@pytest.mark.parametrize(
    ("value", "cut"),
    [
        ("192.0.2.17", "192.0.2.0"),
        ("192.0.2.17:514", "192.0.2.0:514"),
        ("192.000.002.017", "192.0.2.0"),
        ("192.0.2.17/32", "192.0.2.0/32"),
        ("[192.0.2.17]:514", "[192.0.2.0]:514"),
        ("2001:db8:1:2::3", "2001:db8:1::"),
        ("[2001:db8:1:2::3]:514", "[2001:db8:1::]:514"),
        ("2001:DB8:1:2:0:0:0:3", "2001:db8:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("[fe80::1%25eth0]:80", "[fe80::]:80"),
        ("::ffff:192.0.2.17", "::ffff:192.0.2.0"),
        ("[::ffff:192.0.2.17]:514", "[::ffff:192.0.2.0]:514"),
        ("::ffff:c000:211", "::ffff:192.0.2.0"),
        ("2002:c000:211:5::1", "2002:c000:200::"),
        ("192.0.2.17, 198.51.100.8", "192.0.2.0, 198.51.100.0"),
        ("192.0.2.17 proxy.example", "***"),
        ("host.example", "***"),
        ("300.0.2.17", "***"),
        ("1.2.3", "***"),
        ("2001:db8::1::2", "***"),
        ("[192.0.2.17", "***"),
        (3221226001, "***"),
        ("", "***"),
        (", ,", "***"),
        (None, None),
        (["192.0.2.17", 5], ["192.0.2.0", "***"]),
    ],
)
def test_addresses_are_cut_and_what_is_no_address_is_masked(value: Any, cut: Any) -> None:
    truncating = redactor({"fields": ["ip"], "action": "truncate"})
    once = truncating.record({"ip": value})
    assert once == {"ip": cut}
    assert truncating.record(once) == once


def test_prefixes_can_be_chosen_and_an_ipv4_address_inside_of_ipv6_is_cut_too() -> None:
    cut = redactor({"fields": ["ip"], "action": "truncate", "ipv4_prefix": 16, "ipv6_prefix": 127})
    values = ["192.0.2.17", "2001:db8::3", "64:ff9b::192.0.2.17", "2002:c000:211::1", "::192.0.2.17"]
    assert [cut.record({"ip": v})["ip"] for v in values] == [
        "192.0.0.0", "2001:db8::2", "64:ff9b::c000:0", "2002:c000::", "::c000:0",
    ]  # fmt: skip
    found = redactor({"detect": ["ip"], "action": "truncate", "ipv4_prefix": 8})
    assert found.text("from 192.0.2.17:80 to [2001:db8:1:2::3]") == "from 192.0.0.0:80 to [2001:db8:1::]"


def test_detectors_search_texts_keys_bytes_and_whole_numbers() -> None:
    masking = redactor({"detect": ["email", "card"], "action": "mask"})
    record = {
        "@peer": "ann@example.com",
        "t": "to ann@example.com, bob@example.com",
        "n": {"ann@example.com": {"x": ["eve@example.com"]}, "bob@example.com": 2, "***": 3},
        "card": 4111111111111111,
        "time": 1732729312345,
        "b": b"\xffann@example.com",
        "f": 4111111111111111.0,
    }
    assert masking.record(record) == {
        "@peer": "ann@example.com",
        "t": "to ***, ***",
        "n": {"***~2": {"x": ["***"]}, "***~3": 2, "***": 3},
        "card": "***",
        "time": 1732729312345,
        "b": b"\xff***",
        "f": 4111111111111111.0,
    }
    assert masking.counts == {"mask_email_card": 7}
    assert masking.take_counts() == {"mask_email_card": 7}
    assert masking.take_counts() == {}
    dropping = redactor({"detect": ["email", "card"], "action": "drop"})
    assert dropping.record({"t": "to ann@example.com.", "card": 4111111111111111}) == {
        "t": "to .", "card": None,
    }  # fmt: skip


def test_with_fields_detectors_search_these_fields_only() -> None:
    masking = redactor({"fields": ["message"], "detect": ["email"], "action": "mask"})
    record = {"message": {"a@example.com": "b@example.com"}, "reply_to": "c@example.com"}
    assert masking.record(record) == {"message": {"***": "***"}, "reply_to": "c@example.com"}
    assert masking.text("c@example.com") == "***"
    assert not masking.names_fields


def test_places_that_overlap_are_one_place() -> None:
    masking = redactor({"detect": ["ip", "email", "phone", "iban", "card"], "action": "mask"})
    assert masking.text("x 192.0.2.1@192.0.2.1.example.com y") == "x *** y"
    assert masking.text("DE89 3704 0044 0532 0130 00 +49 171 2345678") == "*** ***"


def test_a_record_in_which_nothing_is_found_is_the_same_object() -> None:
    both = redactor(MASK_EMAIL, {"fields": ["user"], "action": "drop"})
    record = {"a": "x", "b": {"c": ["12:30", 5]}, "@peer": "p"}
    assert both.record(record) is record


def test_values_that_are_too_deep_are_replaced() -> None:
    deep: Any = "ann@example.com"
    for _ in range(200):
        deep = [deep]
    around: list[Any] = []
    around.append(around)
    for rule in (MASK_EMAIL, {"fields": ["user"], "action": "mask"}):
        assert "ann" not in repr(redactor(rule).record({"v": deep}))
        assert "***" in repr(redactor(rule).record({"v": around}))
    redactor({"fields": ["v"], "action": "hash"}).record({"v": {"a": around}})


@pytest.mark.parametrize(
    ("payload", "redacted"),
    [
        (b'{"user":"ann","n":1}', b'{"user":"***","n":1}'),
        (b'{ "n" : 1.0 }', b'{ "n" : 1.0 }'),
        (b'\xef\xbb\xbf{"user":1}\0', b'{"user":"***"}'),
        (b'[{"user":"ann"},{"user":"bob"}]', b'[{"user":"***"},{"user":"***"}]'),
        (b'{"user":1}\n\n{"user":2}', b'{"user":"***"}\n\n{"user":"***"}'),
        (b'{"x":"ann","x":1}', b'{"x":1}'),
        (b'{"user":"\\ud800","x":"\\ud800\xc3\xa4"}', b'{"user":"***","x":"\\ud800\\u00e4"}'),
        (b"user=ann", b"<withheld by redact: 8 bytes that are no JSON, so the fields cannot be found>"),
        (b'"user"', b"<withheld by redact: 6 bytes that are no JSON, so the fields cannot be found>"),
        (b'{"user":', b"<withheld by redact: 8 bytes that are no JSON, so the fields cannot be found>"),
        (b"[" * 5000, b"<withheld by redact: 5000 bytes that are no JSON, so the fields cannot be found>"),
        (
            b'{"user":1}\n{"user":',
            b'{"user":"***"}\n<withheld by redact: 8 bytes that are no JSON, so the fields cannot be found>',
        ),
        (b"u\0s\0e\0r\0", b"<withheld by redact: 8 bytes that are no text>"),
        (b"", b""),
        (b" \n", b" \n"),
    ],
)
def test_a_payload_with_named_fields_is_redacted_as_json_or_withheld(payload: bytes, redacted: bytes) -> None:
    masking = redactor({"fields": ["user"], "action": "mask"})
    assert masking.payload(payload) == redacted
    assert masking.withheld == (b"withheld" in redacted)
    assert masking.payload(redacted) == redacted
    assert masking.names_fields


@pytest.mark.parametrize(
    ("payload", "redacted"),
    [
        (b'{"a":"ann@example.com"}', b'{"a":"***"}'),
        (b'{"@peer":"ann@example.com"}', b'{"@peer":"***"}'),
        (b'{"a":"ann\\u0040example.com"}', b'{"a":"***"}'),
        (b'{"a":"ann\\u0040example.com', b'{"a":"***'),
        (b"<13>from ann@example.com \xff", b"<13>from *** \xff"),
        (b"nothing \xff here\\u0009", b"nothing \xff here\\u0009"),
        (b"a\0n\0n\0@\0", b"<withheld by redact: 8 bytes that are no text>"),
    ],
)
def test_a_payload_is_searched_as_json_or_text(payload: bytes, redacted: bytes) -> None:
    masking = redactor(MASK_EMAIL)
    assert masking.payload(payload) == redacted
    assert masking.payload(redacted) == redacted


@example(b"\n[")
@example(b"[\n")
@given(data=st.binary(max_size=40) | st.text(max_size=30).map(lambda t: json.dumps({"user": t}).encode()))
def test_no_payload_raises_and_a_second_time_changes_nothing(data: bytes) -> None:
    both = redactor({"fields": ["user"], "action": "hash"}, {"detect": ["ip", "phone"], "action": "mask"})
    once = both.payload(data)
    assert both.payload(once) == once
