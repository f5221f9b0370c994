"""The codec json: each rule by name, the fast lanes beside the slow one, the standard library as oracle."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.codecs.json import Json
from streamd.core.contracts import AnyCodec, Decoded
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.now import Now
from streamd.core.schema import FieldSettings, Schema
from tests.codecs.cases import WIDE_NAMES

GOOD = b'{"a":1}'
LINE = b'{"ts":"2026-01-31T08:00:00.000997Z","sensor":"s-1","seq":1,"value":21.5}'
READING = {"ts": "2026-01-31T08:00:00.000997Z", "sensor": "s-1", "seq": 1, "value": 21.5, "extra": None}

DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b'{"a":[' + b",".join([b"{}"] * 3000) + b"]}", {}),
    (b"{}\n" * 3000, {}),
    (b'{"a":[]}\n' * 1000, {}),
    (json.dumps(dict.fromkeys(WIDE_NAMES, 1), ensure_ascii=False, separators=(",", ":")).encode(), {}),
]


def sent(payloads: list[bytes]) -> Frames:
    return Frames.of(payloads, "127.0.0.1:5", 1e9)


@pytest.fixture
def codec(new_codec: Any) -> AnyCodec:
    return new_codec("json")  # type: ignore[no-any-return]  # a fixture's type is not known here


def reasons(decoded: Decoded) -> list[tuple[int, str]]:
    return [(reject.index, reject.reason) for reject in decoded.rejects]


REFUSED = [
    (b"", "empty"),
    (b" \r\n", "empty"),
    (b"\xef\xbb\xbf", "empty"),
    (b'{"a":NaN}', "json:nan"),
    (b'{"a":-Infinity}', "json:nan"),
    (b'{"a": nan, "b": 1}', "json:nan"),
    (b'{"a":[1,-inf]}', "json:nan"),
    (b'{"a":1e999}', "json:range"),
    (b'{"a":[-1E999]}', "json:range"),
    (b'{"a":' + b"9" * 400 + b".0}", "json:range"),
    (b'{"a":9223372036854775808}', "json:integer"),
    (b'{"a":-9223372036854775809}', "json:integer"),
    (b'{"a":18446744073709551616}', "json:integer"),
    (b'{"a":{"b":[1,{"c":9223372036854775808}]}}', "json:integer"),
    (b'{"a":' + b"9" * 5000 + b"}", "json:integer"),
    (b'{"a":"\\ud800"}', "json:surrogate"),
    (b'{"a":"\\udc00 and more after it"}', "json:surrogate"),
    (b'{"a":"\\ud800\\ud800"}', "json:surrogate"),
    (b'{"\\ud800":1}', "json:surrogate"),
    (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "json:depth"),
    (b'{"a":' * 65 + b"1" + b"}" * 65, "json:depth"),
    (b"[" * 100_000, "json:depth"),
    (b'{"a":' * 100_000, "json:depth"),
    ('{"a":1}'.encode("utf-16"), "json:utf16"),
    ('{"a":1}'.encode("utf-16-le"), "json:utf16"),
    ('{"a":1}'.encode("utf-16-be"), "json:utf16"),
    ('{"a":1}'.encode("utf-32-be"), "json:utf16"),
    (b'{"a":"\xff"}', "json:utf8"),
    (b'{"\xff":1}', "json:utf8"),
    (b'{"a":"\xed\xa0\x80"}', "json:utf8"),
    (b'{"a":"\xc0\x80"}', "json:utf8"),
    (b"\xff{}", "json:utf8"),
    (b'{"a":1', "json:syntax"),
    (b'{"a":1}}', "json:syntax"),
    (b'{"a":1}\0\0', "json:syntax"),
    (b'{"a":1}\0\n\0', "json:syntax"),
    (b'{"a":1\0}', "json:syntax"),
    (b'{"a":"x\0y"}', "json:syntax"),
    (b"\0", "empty"),
    (b"\xef\xbb\xbf\0\n", "empty"),
    (b'\0{"a":1}', "json:utf16"),
    (b'{"a":1} {"a":2}', "json:syntax"),
    (b'{"a":01}', "json:syntax"),
    (b'{"a":+1}', "json:syntax"),
    (b'{"a":1,}', "json:syntax"),
    (b"{'a':1}", "json:syntax"),
    (b'{"a":"\t"}', "json:syntax"),
    (b"{a:1}", "json:syntax"),
    (b'{"banana" 1}', "json:syntax"),
    (b"[Info] started", "json:syntax"),
    (b"// {}", "json:syntax"),
    (b"null", "json:not_object"),
    (b"1", "json:not_object"),
    (b'"text"', "json:not_object"),
    (b"[]", "json:not_object"),
    (b'{"@source":"lab"}', "json:reserved"),
    (b'{"a":1,"\\u0040peer":"10.0.0.1"}', "json:reserved"),
]


@pytest.mark.parametrize(("payload", "reason"), REFUSED, ids=lambda value: repr(value)[:40])
def test_what_breaks_a_rule_is_rejected_with_its_reason_and_takes_nothing_with_it(
    codec: AnyCodec, now: Now, payload: bytes, reason: str
) -> None:
    decoded = codec.decode(sent([GOOD, payload, GOOD]), now)
    assert reasons(decoded) == [(1, reason)]
    assert decoded.rejects[0].payload is payload
    assert not decoded.rejects[0].element
    assert decoded.records == [{"a": 1}, {"a": 1}]
    assert decoded.origins == [0, 2]


@pytest.mark.parametrize(
    ("payload", "record"),
    [
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":1}\n', {"a": 1}),
        (b'{"a":1}\0', {"a": 1}),
        (b'{"a":1}\0\r\n', {"a": 1}),
        (b'{"a":1}\n\0', {"a": 1}),
        (b'{"a":1} \0 ', {"a": 1}),
        (b'\xef\xbb\xbf{"a":1}\0', {"a": 1}),
        (b'{"a":"\\u0000"}\0', {"a": "\0"}),
        (b' \r\n{"a" : 1 }\r\n', {"a": 1}),
        (b'{\n  "a": 1,\n  "b": {\n    "c": 2\n  }\n}', {"a": 1, "b": {"c": 2}}),
        (b"{}", {}),
        (b'{"a":9223372036854775807,"b":-9223372036854775808}', {"a": 2**63 - 1, "b": -(2**63)}),
        (b'{"a":"12345678901234567890"}', {"a": "12345678901234567890"}),
        (b'{"a":[12345678901234567890.5]}', {"a": [12345678901234567890.5]}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":"\\u0000"}', {"a": "\0"}),
        (b'{"a":1e-999}', {"a": 0.0}),
        (b'{"@timestamp":1,"@version":"1"}', {"@timestamp": 1, "@version": "1"}),
        (b'{"a":{"@source":1}}', {"a": {"@source": 1}}),
        (b'{"a":"' + b"[" * 100 + b'"}', {"a": "[" * 100}),
        (b'{"a":' + b"[" * 63 + b"]" * 63 + b"}", None),
    ],
    ids=repr,
)
def test_what_keeps_the_rules_is_one_record(
    codec: AnyCodec, now: Now, payload: bytes, record: dict[str, Any] | None
) -> None:
    decoded = codec.decode(sent([payload]), now)
    assert decoded.records == [json.loads(payload) if record is None else record]
    assert decoded.rejects == []


def test_an_array_is_several_records_and_a_bad_element_is_rejected_alone(codec: AnyCodec, now: Now) -> None:
    decoded = codec.decode(sent([b'[{"a":1}, 5, {"a":1e999} ,{"a":2}]', GOOD]), now)
    assert decoded.records == [{"a": 1}, {"a": 2}, {"a": 1}]
    assert decoded.origins == [0, 0, 1]
    assert [(r.index, r.payload, r.reason, r.element) for r in decoded.rejects] == [
        (0, b"5", "json:not_object", True),
        (0, b'{"a":1e999}', "json:range", True),
    ]


def test_lines_are_several_records_and_a_bad_line_is_rejected_alone(codec: AnyCodec, now: Now) -> None:
    decoded = codec.decode(sent([GOOD, b'{"a":2}\r\n\nbroken\n{"a":3}\n']), now)
    assert decoded.records == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert decoded.origins == [0, 1, 1]
    assert [(r.index, r.payload, r.reason, r.element) for r in decoded.rejects] == [
        (1, b"broken", "json:not_object", True)
    ]


@pytest.mark.parametrize("name", ["json", "auto"])
@pytest.mark.parametrize(
    "payload", [b'{"a":1}\0\n{"a":2}\0', b'{"a":1}\r\n{"a":2}\n\0', b'[{"a":1},{"a":2}]\0']
)
def test_a_nul_ends_each_line_and_the_whole_of_several(
    new_codec: Any, now: Now, name: str, payload: bytes
) -> None:
    decoded = new_codec(name).decode(sent([payload]), now)
    assert (decoded.records, decoded.rejects) == ([{"a": 1}, {"a": 2}], [])


@pytest.mark.parametrize("typed", [False, True])
def test_a_schema_takes_the_end_of_a_c_string_too(
    new_codec: Any, schema: Schema, now: Now, typed: bool
) -> None:
    decoded = new_codec("json", schema, typed=typed).decode(
        sent([LINE + b"\0", LINE[:-1] + b',"more":1}\0']), now
    )
    assert decoded.records == [READING, READING | {"more": 1}]


def test_a_truncated_frame_with_its_flag_is_judged_as_what_it_holds(codec: AnyCodec, now: Now) -> None:
    frames: list[bytes] = [FlaggedFrame(GOOD, "unterminated"), FlaggedFrame(b'{"a":', "truncated")]
    decoded = codec.decode(sent(frames), now)
    assert decoded.records == [{"a": 1}]
    assert reasons(decoded) == [(1, "json:syntax")]


DOCUMENTS = st.dictionaries(
    st.text(max_size=5).filter(lambda key: key not in RESERVED_KEYS),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
        max_leaves=10,
    ),
)


@given(documents=st.lists(DOCUMENTS, min_size=1), ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_the_standard_library_reads_the_same(
    documents: list[dict[str, Any]], ascii_only: bool, indent: int | None
) -> None:
    written = [
        json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode() for document in documents
    ]
    decoded = Json(Json.Config(), None).decode(sent(written), Now(0.0, 0.0))
    assert decoded.records == [json.loads(payload) for payload in written]
    assert decoded.rejects == []
    assert decoded.origins is None


def test_a_schema_gives_dicts_with_every_declared_field(new_codec: Any, schema: Schema, now: Now) -> None:
    decoded = new_codec("json", schema).decode(sent([LINE]), now)
    assert decoded == Decoded([READING], size_bytes=decoded.size_bytes)


def test_where_structs_are_wanted_they_come(new_codec: Any, schema: Schema, now: Now) -> None:
    decoded = new_codec("json", schema, typed=True).decode(sent([LINE, LINE]), now)
    assert decoded.typed
    assert decoded.origins is None
    assert [type(record) for record in decoded.records] == [schema.struct] * 2
    assert schema.to_dict(decoded.records[0]) == READING


def test_rejects_alone_do_not_cost_a_batch_its_structs(new_codec: Any, schema: Schema, now: Now) -> None:
    bad_time = LINE.replace(b"01-31", b"02-30")
    decoded = new_codec("json", schema, typed=True).decode(sent([LINE, b"{", LINE, bad_time, LINE]), now)
    assert decoded.typed
    assert decoded.origins == [0, 2, 4]
    assert reasons(decoded) == [(1, "json:syntax"), (3, "timestamp:range")]


@pytest.mark.parametrize("other", [b"[" + LINE + b"]", LINE + b"\n" + LINE, LINE[:-1] + b',"more":[1]}'])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_frame_that_needs_dicts_gives_its_whole_batch_dicts(
    new_codec: Any, schema: Schema, now: Now, other: bytes, place: int
) -> None:
    payloads = [LINE, LINE]
    payloads.insert(place, other)
    decoded = new_codec("json", schema, typed=True).decode(sent(payloads), now)
    assert not decoded.typed
    assert decoded.rejects == []
    assert len(decoded.records) >= 3
    assert all(record.items() >= READING.items() for record in decoded.records)


def test_undeclared_fields_are_kept_and_held_to_the_rules(new_codec: Any, schema: Schema, now: Now) -> None:
    start = LINE[:-1]
    payloads = [
        start + b',"more":{"deep":[1]}}',
        start + b',"more":[9223372036854775808]}',
        start + b',"@peer":"forged"}',
        start + b',"more":1e999}',
        LINE,
    ]
    decoded = new_codec("json", schema, typed=True).decode(sent(payloads), now)
    assert decoded.records == [READING | {"more": {"deep": [1]}}, READING]
    assert decoded.origins == [0, 4]
    assert reasons(decoded) == [(1, "json:integer"), (2, "json:reserved"), (3, "json:range")]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"value":21.5', b'"value":"21.5"', "schema:type"),
        (b'"value":21.5', b'"value":150.5', "schema:range"),
        (b'"value":21.5', b'"value":null', "schema:required"),
        (b',"value":21.5', b"", "schema:required"),
        (b'"seq":1', b'"seq":1.5', "schema:type"),
        (b'"seq":1', b'"seq":9223372036854775808', "schema:range"),
        (b'"seq":1', b'"extra":9223372036854775808', "json:integer"),
        (b'"seq":1', b'"extra":[9223372036854775808]', "json:integer"),
        (b'"seq":1', b'"extra":' + b"[" * 64 + b"]" * 64, "json:depth"),
        (b'"2026-01-31T08:00:00.000997Z"', b'"yesterday"', "timestamp:syntax"),
        (b'"2026-01-31T08:00:00.000997Z"', b'"2026-01-31T08:00:00"', "timestamp:naive"),
        (b'"2026-01-31T08:00:00.000997Z"', b"99999999999999999999999", "timestamp:range"),
        (b'"2026-01-31T08:00:00.000997Z"', b"true", "schema:type"),
    ],
)
@pytest.mark.parametrize("typed", [False, True])
def test_what_does_not_fit_the_schema_is_rejected_alone(
    new_codec: Any, schema: Schema, now: Now, old: bytes, new: bytes, reason: str, typed: bool
) -> None:
    decoded = new_codec("json", schema, typed=typed).decode(sent([LINE, LINE.replace(old, new), LINE]), now)
    assert reasons(decoded) == [(1, reason)]
    assert decoded.typed is typed
    assert len(decoded.records) == 2


@pytest.mark.parametrize(
    ("written", "seq"),
    [
        (b"5.0", 5), (b"1e3", 1000), (b"1E+3", 1000), (b"12.50e1", 125), (b"-0.0", 0), (b"-7.000", -7),
        (b"9007199254740991.0", 2**53 - 1), (b"10e-1", 1), (b"5.00000000000000000001", 5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("end", [b"}", b',"more":1}'])
def test_float_notation_of_a_whole_number_fits_an_int_field(
    new_codec: Any, schema: Schema, now: Now, written: bytes, seq: int, typed: bool, end: bytes
) -> None:
    line = LINE.replace(b'"seq":1', b'"seq":' + written).removesuffix(b"}") + end
    decoded = new_codec("json", schema, typed=typed).decode(sent([LINE, line, LINE]), now)
    assert decoded.rejects == []
    found = [record["seq"] for record in decoded.records]
    assert (found, set(map(type, found))) == ([1, seq, 1], {int})


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b"5.5", "schema:type"), (b"1e-3", "schema:type"), (b'"5"', "schema:type"), (b'"5.0"', "schema:type"),
        (b"1e300", "schema:range"), (b"9007199254740993.0", "schema:range"), (b"1e19", "schema:range"),
        (b"-9223372036854775808.0", "schema:range"), (b"1e999", "json:range"), (b"true", "schema:type"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("typed", [False, True])
def test_float_notation_that_is_no_exact_integer_is_rejected(
    new_codec: Any, schema: Schema, now: Now, written: bytes, reason: str, typed: bool
) -> None:
    line = LINE.replace(b'"seq":1', b'"seq":' + written)
    decoded = new_codec("json", schema, typed=typed).decode(sent([LINE, line, LINE]), now)
    assert reasons(decoded) == [(1, reason)]


def test_a_reject_names_the_field(new_codec: Any, schema: Schema, now: Now) -> None:
    decoded = new_codec("json", schema).decode(sent([LINE.replace(b"21.5", b'"x"')]), now)
    assert decoded.rejects[0].detail == "value: expected float, got str"


def test_a_float_field_takes_an_integer_of_any_length_that_a_float_can_hold(new_codec: Any, now: Now) -> None:
    floats = Schema("floats", {"f": FieldSettings(type="float")})
    codec = new_codec("json", floats)
    payloads = [b'{"f":123456789012345678901234}', b'{"f":123456789012345678901234,"more":1}']
    decoded = codec.decode(sent(payloads), now)
    assert [record["f"] for record in decoded.records] == [1.2345678901234568e23] * 2
    assert all(math.isfinite(record["f"]) for record in decoded.records)


READINGS = st.fixed_dictionaries(
    {
        "ts": st.sampled_from(["2026-01-31T08:00:00.000997Z", "2026-01-31T09:00:00+01:00", 0, 1.5, "never"]),
        "sensor": st.text(max_size=4),
        "value": st.integers(-60, 160) | st.floats(-50, 150) | st.none(),
    },
    optional={
        "seq": st.integers(-(2**64), 2**64)
        | st.none()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.integers(-(2**60), 2**60).map(float),
        "extra": DOCUMENTS,
        "more": st.integers(-(2**64), 2**64) | st.lists(st.integers(-(2**64), 2**64), max_size=2),
    },
)


@given(data=st.data())
def test_structs_and_dicts_hold_the_same(data: st.DataObject, new_codec: Any, schema: Schema) -> None:
    readings = data.draw(st.lists(READINGS, max_size=8))
    payloads = [json.dumps(reading).encode() for reading in readings]
    now = Now(0.0, 0.0)
    typed = new_codec("json", schema, typed=True).decode(sent(payloads), now)
    plain = new_codec("json", schema).decode(sent(payloads), now)
    assert (list(map(schema.to_dict, typed.records)) if typed.typed else typed.records) == plain.records
    assert typed.origins == plain.origins
    assert typed.rejects == plain.rejects


def test_frames_rich_in_containers_weigh_more(new_codec: Any, now: Now) -> None:
    codec = new_codec("json")
    plain, rich = [LINE] * 64, [b'{"a":[' + b"{}," * 1000 + b"{}]}"] * 64
    size_bytes = sum(map(len, rich))
    frames = sent(plain)
    assert 0 < codec.decode(frames, now).size_bytes < frames.size_bytes * codec.weight + 64 * 100
    assert codec.decode(sent(rich), now).size_bytes > 27 * size_bytes
