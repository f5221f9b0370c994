"""The codec syslog, and what it reads messages with: `syslog/any_format.py`, `syslog/columns.py`,
`syslog/contents.py`, `syslog/element_shapes.py`, `syslog/message.py`, `syslog/plain_rfc3164.py`,
`syslog/priority.py`, `syslog/rfc3164.py`, `syslog/rfc5424.py`, `syslog/stamps.py` and
`syslog/structured_data.py`. The formats are in the cases of `tests/data/syslog`.
"""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.codecs.syslog import Syslog
from streamd.config.brought_schemas import brought_fields
from streamd.core.batch import Batch
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import FieldSettings, Schema
from streamd.sqlite.typed_rows import TypedRows
from streamd.syslog import any_format, contents, plain_rfc3164, structured_data
from streamd.syslog.columns import MessageColumns
from streamd.syslog.element_shapes import ElementShapes
from streamd.syslog.message import FIELDS
from streamd.syslog.rfc5424 import message_at
from tests.codecs.cases import WIDE_NAMES

NOW = Now(1_706_688_000.0, 1.0)
OWN = Schema("syslog", brought_fields(Syslog))

HEADER = "<34>1 2003-10-11T22:14:15.003Z host su 8710 ID47 "
PROTOCOL = [HEADER + "- message", HEADER + '[a b="c"] message', "<191>1 - - - - - -"]
OLD = ["<13>Oct 11 22:14:15 host tag[7]: message", "<189>29: foo: *Apr 29 13:58:40.411 CET: %SYS-5-X: y"]
PIECES = [
    *(text.encode() for text in (*PROTOCOL, *OLD)),
    *b'<34>1 |<|>|2003-10-11T22:14:15.003Z |- |[a b="c"]|[|]|"|=|\\|Oct 11 |22:14:15 '.split(b"|"),
    b"2003 ", b": ", b"host ", b"tag[7]: ",
    b"\0", b"\x1e", b"\n", b"\xef\xbb\xbf", b"\xff", b"CEF:0|", b"LEEF:2.0|", b"@cee: {}", b"UTC", b"*", b"%",
    b"29: ", b"+01:00", b"Feb 29 ", "数".encode(),
]  # fmt: skip
DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b"a", {}),
    ((HEADER + "".join(f"[{name}]" for name in WIDE_NAMES)).encode(), {}),
    ((HEADER + "[a" + "".join(f" {name}=" for name in WIDE_NAMES) + " ]").encode(), {}),
    (b'<1>a: @cee: {"a":[' + b",".join([b"{}"] * 3000) + b"]}", {"parse": ["cee"]}),
    (("<1>CEF:0|||||||" + " ".join(f"{name}=" for name in WIDE_NAMES)).encode(), {"parse": ["cef"]}),
    (("<1>LEEF:1.0|||||" + "\t".join(f"{name}=" for name in WIDE_NAMES)).encode(), {"parse": ["leef"]}),
]
OPTIONS: list[dict[str, Any]] = [{}, {"parse": ["cee", "cef", "leef"], "raw": True}]


def codec(schema: Schema | None = None, *, typed: bool = False, **options: Any) -> Syslog:
    made = Syslog(Syslog.Config(**options), schema)
    made.typed = typed
    return made


def sent(*payloads: bytes | str) -> Frames:
    frames = [payload.encode() if isinstance(payload, str) else payload for payload in payloads]
    return Frames.of(frames, "127.0.0.1:5", NOW.wall_s)


def test_the_schema_that_it_brings_makes_structs_with_the_values_of_the_dicts() -> None:
    frames = sent(*PROTOCOL, *OLD, "", "hello", b"\xff", HEADER + "- \0")
    dicts = codec().decode(frames, NOW)
    with_nulls = codec(OWN).decode(frames, NOW)
    structs = codec(OWN, typed=True).decode(frames, NOW)
    assert structs.typed
    assert [type(record) for record in structs.records] == [OWN.struct] * 8
    assert list(map(OWN.to_dict, structs.records)) == with_nulls.records
    assert dicts.records == [
        {name: value for name, value in record.items() if value is not None} for record in with_nulls.records
    ]
    assert all(tuple(record) == FIELDS for record in with_nulls.records)
    assert dicts.origins == with_nulls.origins == structs.origins == [0, 1, 2, 3, 4, 6, 7, 8]
    assert [(reject.index, reject.reason) for reject in structs.rejects] == [(5, "empty")]


def test_the_records_fit_the_columns_of_a_table() -> None:
    records = codec(OWN).decode(sent(*PROTOCOL, *OLD), NOW).records
    stored = TypedRows(OWN.fields, metadata=False, extra="reject").of(
        Batch.of(records, "source", "main", "peer", 1e9)
    )
    assert not stored.rejects
    assert len(stored.rows) == 5


def test_another_schema_is_checked_field_by_field() -> None:
    fields = {"severity": FieldSettings(type="int", le=3), "hostname": FieldSettings(type="str")}
    decoded = codec(Schema("short", fields)).decode(sent(HEADER + "- m", *OLD, "<8>hello"), NOW)
    assert [list(record)[:2] for record in decoded.records] == [["severity", "hostname"]]
    assert decoded.records[0]["message"] == "m"
    assert [reject.reason for reject in decoded.rejects] == ["schema:range"] * 2 + ["schema:required"]


def test_a_limit_in_a_schema_of_all_fields_is_checked() -> None:
    fields = {**OWN.fields, "severity": FieldSettings(type="int", required=False, le=3)}
    decoded = codec(Schema("strict", fields), typed=True).decode(sent(PROTOCOL[0], OLD[0]), NOW)
    assert len(decoded.records) == 1
    assert [(reject.index, reject.reason) for reject in decoded.rejects] == [(1, "schema:range")]


TEXTS = st.lists(st.sampled_from([piece.decode(errors="replace") for piece in PIECES]), max_size=9).map(
    "".join
)


@settings(max_examples=50)
@given(texts=st.lists(TEXTS, max_size=6))
def test_columns_hold_what_one_message_after_the_other_gives(texts: list[str]) -> None:
    for text, values in zip(texts, MessageColumns("UTC").read(texts), strict=True):
        reading = any_format.read(text, NOW.wall_s, "UTC", 13)
        if values is not None:
            assert tuple(reading.message) == values
            assert not reading.fault


def test_columns_hold_every_message_with_a_good_header() -> None:
    bad = [HEADER + "[a b] m", "", HEADER.replace("-10-", "-13-") + "- m", HEADER.replace("su", "") + "- m"]
    texts = [*PROTOCOL, *OLD, *PROTOCOL, *bad]
    found = [values is not None for values in MessageColumns("UTC").read(texts)]
    assert found == [True] * 3 + [False] * 2 + [True] * 3 + [False] * len(bad)
    assert None not in MessageColumns("UTC").read(PROTOCOL)
    for text in bad:  # beside messages that all have the same number of parts
        assert [values is None for values in MessageColumns("UTC").read([*PROTOCOL, text])][3]


ELEMENTS = st.lists(
    st.sampled_from(
        [
            "[a",
            "[b@1",
            "]",
            "] ",
            ' x="1"',
            ' y="2 ] 3"',
            ' x="\\""',
            " z=5",
            ' z="é"',
            '"',
            " ",
            "=",
            "m",
            "\\",
            "-",
        ]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=200)
@given(texts=st.lists(ELEMENTS.map("[a".__add__), max_size=4))
def test_structured_data_that_is_cut_at_its_quotes_is_what_the_grammar_reads(texts: list[str]) -> None:
    shapes = ElementShapes()
    for text in [*texts, *texts]:
        read = structured_data.read(text, 0)
        if (found := shapes.read(text)) is not None:
            assert read is not None
            assert found == (read[0], message_at(text, read[1]))


def test_usual_structured_data_is_cut_at_its_quotes() -> None:
    shapes = ElementShapes()
    for number in range(3):
        assert shapes.read(f'[a x="{number}" y=""][b@1][c z="é]"] m') == (
            {"a": {"x": f"{number}", "y": ""}, "b@1": {}, "c": {"z": "é]"}},
            "m",
        )
    assert shapes.read('[a x="1" x="2"] m') is None


def test_any_number_of_shapes_takes_bounded_memory() -> None:
    shapes = ElementShapes()
    for number in range(3000):
        assert shapes.read(f"[a{number}] m") is not None
    assert len(vars(shapes)["_known"]) <= 1024


HEADERS_3164 = st.builds(
    "<{}>{}{} {}{}{}".format,
    st.sampled_from(["13", "0", "191", "192", "013"]),
    st.sampled_from(["Oct 11 ", "Feb 29 ", "Jan  7 ", "Jan 07 ", "Foo 11 ", "Dec 39 "]),
    st.sampled_from(["22:14:15", "23:59:60", "29:00:00"]),
    st.sampled_from(["host ", "192.0.2.1 ", "UTC ", "EST ", "From ", "2013 ", "last ", "fe80::1 ", ""]),
    st.sampled_from(["tag", "su(pam)", "a/b.c-d", "CEF", "message", "%ASA-1", "1", ""]),
    st.sampled_from([": m", "[7]: m", "[x]: m", "[7] m", "://m", ":m", ":  m", " m", ": ", ":", ": \ufeffm"]),
)


@settings(max_examples=200)
@given(text=HEADERS_3164, day=st.sampled_from([0, 180, 365, 1461]))
def test_a_plain_message_of_rfc_3164_is_what_the_tolerant_reader_makes_of_it(text: str, day: int) -> None:
    received_at = NOW.wall_s + day * 86_400
    values = plain_rfc3164.read(text, received_at, "Europe/Berlin")
    if values is not None:
        reading = any_format.read(text, received_at, "Europe/Berlin", 13)
        assert tuple(reading.message) == values
        assert (reading.fault, reading.no_priority) == ("", False)


def test_usual_messages_of_rfc_3164_are_plain() -> None:
    for text in ("<34>Oct 11 22:14:15 host su[7]: m", "<13>Jan  7 00:00:00 192.0.2.1 a/b-c.d: m"):
        assert plain_rfc3164.read(text, NOW.wall_s, "UTC") is not None


@settings(max_examples=50)
@given(text=TEXTS)
def test_no_text_is_lost_where_nothing_is_recognised(text: str) -> None:
    reading = any_format.read(text, NOW.wall_s, "UTC", 13)
    if reading.fault == "no_header":
        assert text.endswith(reading.message.message)
        assert len(text) - len(reading.message.message) <= len("<191>")


BEGINNINGS: dict[contents.Content, str] = {"cee": "@cee:", "cef": "CEF:0|", "leef": "LEEF:2.0|a|b|c|d|"}


@settings(max_examples=50)
@given(content=st.sampled_from(sorted(BEGINNINGS)), text=st.text(alphabet='ab|=\\ \t\n{}"0x^', max_size=40))
def test_no_message_breaks_the_readers_of_contents(content: contents.Content, text: str) -> None:
    contents.read(text, content)
    contents.read(BEGINNINGS[content] + text, content)


def test_a_source_that_redacts_rejects_what_has_no_fields() -> None:
    made = codec()
    made.redacted = True
    decoded = made.decode(sent(PROTOCOL[0], OLD[0], "<13>hello", HEADER + "[a b] x", "hello"), NOW)
    assert decoded.origins == [0, 1]
    assert [(reject.index, reject.reason) for reject in decoded.rejects] == [
        (2, "syslog:fields"), (3, "syslog:fields"), (4, "syslog:fields"),
    ]  # fmt: skip


def test_the_year_is_nearest_to_when_each_frame_was_read() -> None:
    frames = Frames.merge(
        [Frames.of([b"<13>Dec 31 23:59:59 h t: x"], "127.0.0.1:5", at) for at in (1_704_067_202.0, 1.72e9)]
    )
    assert [record["timestamp"][:4] for record in codec().decode(frames, NOW).records] == ["2023", "2024"]


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="there is no timezone 'Mars/Olympus' on this host"):
        Syslog.Config(timezone="Mars/Olympus")


def test_the_schema_names_severities_and_facilities_as_the_rfc_numbers_them() -> None:
    severities, facilities = (OWN.fields[name].names or [] for name in ("severity", "facility"))
    assert severities == ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]
    assert len(facilities) == 24
    assert [facilities[n] for n in (0, 4, 16, 23)] == ["kern", "auth", "local0", "local7"]


@pytest.mark.parametrize(("depth", "is_kept"), [(62, True), (63, False)])
def test_cee_is_one_level_deeper_in_its_record(depth: int, *, is_kept: bool) -> None:
    text = "<13>a: @cee: " + '{"a":' * depth + "{}" + "}" * depth
    (record,) = codec(parse=["cee"]).decode(sent(text), NOW).records
    assert ("cee" in record) is is_kept


LONG = 200_000
HOSTILE = {
    "blanks": "<13>" + " " * LONG,
    "blanks behind a time": "<13>Oct 11 22:14:15 " + " " * LONG,
    "a long word": "<13>Oct 11 22:14:15 " + "a" * LONG,
    "a long tag": "<13>Oct 11 22:14:15 host " + "a" * LONG,
    "colons": "<13>" + ":" * LONG,
    "numbers": "<13>" + "1: " * (LONG // 3),
    "words before a time": "<13>" + "a: " * (LONG // 3),
    "a fraction": "<13>Oct 11 22:14:15." + "1" * LONG,
    "parameters": HEADER + "[a" + ' b="c"' * (LONG // 6),
    "parameters that are closed": HEADER + "[a" + ' b="c"' * (LONG // 6) + "] m",
    "elements": HEADER + '[a b="c"]' * (LONG // 9),
    "brackets": HEADER + "[" * LONG,
    "backslashes": HEADER + '[a b="' + "\\" * LONG,
    "an unquoted value": HEADER + "[a b=" + "c" * LONG,
    "blanks in an element": HEADER + "[a b=" + " " * LONG,
    "blanks before parameters": HEADER + "[a" + " " * LONG + "b",
    "CEF": "<13>CEF:0|a|b|c|d|e|f|" + "a=b " * (LONG // 4),
    "CEF without a key": "<13>CEF:0|a|b|c|d|e|f|" + "a" * LONG,
    "CEF of keys without a sign": "<13>CEF:0|a|b|c|d|e|f|" + "a " * (LONG // 2),
    "CEF of backslashes": "<13>CEF:0|" + "\\" * LONG,
    "LEEF": "<13>LEEF:1.0|a|b|c|d|" + "a=b\t" * (LONG // 4),
    "digits": "<13>" + "1" * LONG,
    "one priority after the other": "<13>" * (LONG // 4),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_messages_take_linear_time(kind: str) -> None:
    """Quadratic work for 200,000 characters would take minutes."""
    begin = time.process_time()
    done = codec(parse=["cee", "cef", "leef"]).decode(sent(HOSTILE[kind]), NOW)
    assert len(done.records) == 1
    assert time.process_time() - begin < 20
