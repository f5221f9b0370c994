"""Hostile input of every kind: each has its fate in the books, and what could not be decoded is kept.

One daemon runs for the table of cases: each has a source, a pipeline and, where it says so, a sink and a
step of its own, so that every number in the books belongs to one case.
"""

import contextlib
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

HEAD = """
[admin]
listen = "127.0.0.1:0"
[daemon]
workers = 1
[schemas.reading]
ts = "timestamp"
value = { type = "float", required = false }
count = { type = "int", required = false }
any = { type = "any", required = false }
[sinks.records]
type = "sqlite"
"""
STEPS = """
class Odd:
    def __repr__(self):
        return "an odd thing\\x1b[31m\\n<0>"

POISON = {
    "huge_int": 2**70, "nan": float("nan"), "infinity": float("-inf"), "surrogate": "\\ud800",
    "nested_surrogate": ["\\ud800"], "nested_huge_int": {"a": 2**70}, "set_of_objects": {Odd()},
    "object": Odd(), "surrogate_key": {"\\ud800": 1}, "complex": 1j, "function": print,
}
cycle = []
cycle.append(cycle)
POISON["cycle"] = cycle
deep = []
for _ in range(100_000):
    deep = [deep]
POISON["deep"] = deep

def poison(record):
    return {"v": POISON[record["poison"]]} if "poison" in record else record

def shout(record):
    raise ValueError(record["message"])
"""

Letters = list[tuple[str, bytes | None]]


@dataclass
class Case:
    """What is sent to a source of its own, and what shall have become of it."""

    sent: list[bytes]
    kind: str = "udp"
    source: str = 'codec = "json"'
    sink: str = ""
    step: str = ""
    records: list[Any] = field(default_factory=list)
    """What the catch-all sink has, in order; `rows` what a sink of the case's own has."""
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    letters: Letters = field(default_factory=list)
    """Reason and original bytes of each dead letter; None stands for a record, which is not bytes."""
    notes: dict[str, int] = field(default_factory=dict)
    """Counters beside the sum, and frames lost, as `dropped:reason`."""
    columns: str = "*"


def refused(reason: str, *payloads: bytes, **options: Any) -> Case:
    """Each datagram is rejected for the reason, and kept as it came."""
    return Case(list(payloads), letters=[(reason, payload) for payload in payloads], **options)


def stream(sent: bytes | list[bytes], source: str, **options: Any) -> Case:
    """One connection's bytes in the writes given."""
    codec = "" if "codec" in source else '\ncodec = "auto"'
    return Case([sent] if isinstance(sent, bytes) else sent, "tcp", source + codec, **options)


def text(message: str, flag: str | None = None) -> dict[str, str]:
    return {"message": message} | ({"@flag": flag} if flag else {})


def typed(values: list[str], rows: list[tuple[Any, ...]], letters: list[str]) -> Case:
    """Datagrams of JSON for the typed table; those refused come after those stored."""
    sent = [value.encode() for value in values]
    kept = sent[len(sent) - len(letters) :]
    return Case(
        sent,
        source='codec = "json"\nschema = "reading"',
        sink='schema = "reading"',
        rows=rows,
        letters=list(zip(letters, kept, strict=True)),
        columns="ts, value, count",
    )


DEEP = b'{"a":' + b"[" * 63 + b"]" * 63 + b"}"
TOO_DEEP = b'{"a":' + b"[" * 64 + b"]" * 64 + b"}"
VERY_DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
UNPRINTABLE = (
    '\x1b]0;owned\x07\x1b[2J<0>emergency\r\n{"event":"forged"}\u2028\u2029\x85\x9b31m\u202eevil\x7f\0'
)

JSON_CASES = {
    "duplicate keys: the last wins": Case([b'{"a":1,"a":2}'], records=[{"a": 2}]),
    "NaN and Infinity": refused(
        "json:nan", b'{"a":NaN}', b'{"a":-NaN}', b'{"a":Infinity}', b'{"a":[-Infinity]}', b'{"a":nan}'
    ),
    "1e999": refused("json:range", b'{"a":1e999}', b'{"a":-1e999}', b'{"a":[1e999]}'),
    "the largest integers": Case(
        [b'{"a":9223372036854775807,"b":-9223372036854775808}'], records=[{"a": 2**63 - 1, "b": -(2**63)}]
    ),
    "integers beyond 64 bits": refused(
        "json:integer",
        b'{"a":9223372036854775808}',
        b'{"a":-9223372036854775809}',
        b'{"a":[{"b":18446744073709551616}]}',
    ),
    "an integer of 5000 digits": refused(
        "json:integer", b'{"a":' + b"7" * 5000 + b"}", b'{"a":[' + b"7" * 5000 + b"]}"
    ),
    "lone surrogates": refused(
        "json:surrogate", rb'{"a":"\ud800"}', rb'{"\udfff":1}', rb'{"a":"\ud800\u0041"}', rb'{"a":"\udc00 "}'
    ),
    "64 levels": Case([DEEP], records=[json.loads(DEEP)]),
    "65 levels": refused("json:depth", TOO_DEEP),
    "65 levels never closed": refused("json:syntax", TOO_DEEP[:69]),
    "UTF-16 and UTF-32": refused(
        "json:utf16",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-be"),
        '{"a":1}'.encode("utf-32"),
    ),
    "a byte order mark": Case([b'\xef\xbb\xbf{"a":1}'], records=[{"a": 1}]),
    "two byte order marks": refused("json:syntax", b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}'),
    "keys that forge our metadata": refused(
        "json:reserved",
        b'{"@peer":"10.0.0.1:1"}',
        rb'{"\u0040source":"lab"}',
        b'{"@received_at":"1970-01-01T00:00:00.000000Z"}',
        b'{"@flag":"truncated"}',
    ),
    "other keys with an @": Case([b'{"@timestamp":"x"}'], records=[{"@timestamp": "x"}]),
    "an empty datagram": refused("empty", b""),
    "nothing but space": refused("empty", b" \t\r\n "),
    "invalid UTF-8": refused(
        "json:utf8", b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\xaf"}', b'{"\xf5":1}'
    ),
    "no object": refused("json:not_object", b"42", b'"text"', b"null", b"true"),
    "broken syntax": refused(
        "json:syntax",
        b'{"a":1}x',
        b'{"a":1',
        b"{'a':1}",
        b'{"a":01}',
        b'{"a":1,}',
        b'{"a":"\x00"}',
        b"\x1b[31m",
    ),
    "an escaped NUL": Case([rb'{"a":"\u0000"}'], records=[{"a": "\0"}]),
    "a bad element in an array": Case(
        [b'[{"a":1},7,{"a":1e999},{"a":2}]'],
        records=[{"a": 1}, {"a": 2}],
        letters=[("json:not_object", b"7"), ("json:range", b'{"a":1e999}')],
    ),
    "an array that is no JSON": refused("json:nan", b'[{"a":1},{"a":NaN}]'),
    "a bad line among lines": Case(
        [b'{"a":1}\nno json\n{"a":1e999}\n{"a":2}'],
        records=[{"a": 1}, {"a": 2}],
        letters=[("json:not_object", b"no json"), ("json:range", b'{"a":1e999}')],
    ),
    "the largest datagram": Case([b'{"a":"' + b"x" * 65499 + b'"}'], records=[{"a": "x" * 65499}]),
    "100,000 levels": stream(
        VERY_DEEP + b'\n{"a":1}\n',
        'codec = "json"\nmax_frame = "1MiB"',
        records=[{"a": 1}],
        letters=[("json:depth", VERY_DEEP)],
    ),
    "100,000 levels as auto": stream(
        VERY_DEEP + b"\n",
        'max_frame = "1MiB"',
        records=[text(VERY_DEEP.decode())],
        notes={"auto_fallback": 1},
    ),
    "broken JSON as auto is a message": Case(
        [b'{"a":NaN}', b'{"@peer":"x"}', TOO_DEEP],
        source='codec = "auto"',
        records=[text('{"a":NaN}'), text('{"@peer":"x"}'), text(TOO_DEEP.decode())],
        notes={"auto_fallback": 3},
    ),
    "invalid UTF-8 as auto": refused("text:utf8", b"\xff\xfe\x00", b'{"a":"\xff"}', source='codec = "auto"'),
    "invalid UTF-8 as text": refused("text:utf8", b"a\xffb", b"\xed\xa0\x80", source='codec = "text"'),
    "an empty datagram as raw": refused("empty", b"", source='codec = "raw"'),
    "any bytes as raw": Case([b"\0\xff\n"], source='codec = "raw"', records=[{"data": "AP8K"}]),
    "a text of control characters": Case(
        [UNPRINTABLE.encode()], source='codec = "text"', records=[text(UNPRINTABLE.removesuffix("\0"))]
    ),
}

COUNTED = 'framing = "octet_counting"\nmax_frame = "64B"'
FRAMING_CASES = {
    "a count of zero": stream(
        b"5 hello0 x",
        COUNTED,
        records=[text("hello")],
        notes={"framing_errors:count:zero": 1, "discarded_bytes": 3},
    ),
    "a count with a leading zero": stream(
        b"05 hello", COUNTED, notes={"framing_errors:count:zero": 1, "discarded_bytes": 8}
    ),
    "a count of ten digits": stream(
        b"1234567890 <", COUNTED, notes={"framing_errors:count:too_long": 1, "discarded_bytes": 12}
    ),
    "a count that never ends (CVE-2022-24903)": stream(
        b"5 hello" + b"9" * 5000 + b" <1>x",
        COUNTED,
        records=[text("hello")],
        notes={"framing_errors:count:too_long": 1, "discarded_bytes": 5005},
    ),
    "no count": stream(
        b"<13>hello\n", COUNTED, notes={"framing_errors:count:syntax": 1, "discarded_bytes": 10}
    ),
    "a negative count": stream(
        b"-5 hello", COUNTED, notes={"framing_errors:count:syntax": 1, "discarded_bytes": 8}
    ),
    "a count in digits that are not ASCII": stream(
        "\uff15 hello".encode(), COUNTED, notes={"framing_errors:count:syntax": 1, "discarded_bytes": 9}
    ),
    "a count in four writes": stream(
        [b"1", b"1", b" ", b"hello", b" world3 abc"], COUNTED, records=[text("hello world"), text("abc")]
    ),
    "a count over the limit": stream(
        b"100 " + b"a" * 100 + b"3 abc",
        COUNTED,
        records=[text("a" * 64, "truncated"), text("abc")],
        notes={"truncated": 1, "discarded_bytes": 36},
    ),
    "a count nobody would skip": stream(
        b"999999999 <",
        COUNTED,
        notes={"framing_errors:oversize": 1, "dropped:oversize": 1, "discarded_bytes": 11},
    ),
    "a counted frame over the limit, dropped": stream(
        b"100 " + b"a" * 100 + b"3 abc",
        COUNTED + '\noversize = "drop"',
        records=[text("abc")],
        notes={"dropped:oversize": 1, "discarded_bytes": 104},
    ),
    "a counted frame over the limit, closed": stream(
        b"3 abc100 " + b"a" * 100,
        COUNTED + '\noversize = "close"',
        records=[text("abc")],
        notes={"dropped:oversize": 1, "framing_errors:oversize": 1, "discarded_bytes": 104},
    ),
    "a counted frame that is not whole": stream(
        b"3 abc10 abc", COUNTED, records=[text("abc")], notes={"dropped:incomplete": 1, "discarded_bytes": 6}
    ),
    "a length of four gigabytes": stream(
        b"\xff\xff\xff\xff" + b"a" * 100,
        'framing = "length_prefix"',
        notes={"dropped:oversize": 1, "framing_errors:oversize": 1, "discarded_bytes": 104},
    ),
    "lengths of zero": stream(
        b"\0\0\0\0" * 3 + b"\0\0\0\1a",
        'framing = "length_prefix"',
        records=[text("a")],
        notes={"empty_frames": 3},
    ),
    "a length shorter than itself": stream(
        b"\0\1a",
        'framing = { type = "length_prefix", size = 2, inclusive = true }',
        notes={"framing_errors:length:too_short": 1, "discarded_bytes": 3},
    ),
    "a line over the limit, truncated": stream(
        b"a" * 100 + b"\nb\n",
        'max_frame = "64B"',
        records=[text("a" * 64, "truncated"), text("b")],
        notes={"truncated": 1, "discarded_bytes": 36},
    ),
    "a line over the limit, dropped": stream(
        b"a" * 100 + b"\nb\n",
        'max_frame = "64B"\noversize = "drop"',
        records=[text("b")],
        notes={"dropped:oversize": 1, "discarded_bytes": 100},
    ),
    "a line over the limit, closed": stream(
        b"b\n" + b"a" * 100,
        'max_frame = "64B"\noversize = "close"',
        records=[text("b")],
        notes={"dropped:oversize": 1, "framing_errors:oversize": 1, "discarded_bytes": 100},
    ),
    "a line without an end": stream(
        b"a\nb", "", records=[text("a"), text("b", "unterminated")], notes={"unterminated": 1}
    ),
    "empty lines": stream(b"\n\r\n\n\na\n", "", records=[text("a")]),
    "NUL bytes in a line": stream(
        b"a\0b\nc\0\n\0\n", "", records=[text("a\0b"), text("c")], letters=[("empty", b"\0")]
    ),
    "invalid UTF-8 in a line": stream(
        b"a\xff\nb\n\xc3\n",
        "",
        records=[text("b")],
        letters=[("text:utf8", b"a\xff"), ("text:utf8", b"\xc3")],
    ),
    "a truncated line that splits a character": stream(
        b"a" + "é".encode() * 32 + b"\nb\n",
        'max_frame = "64B"',
        records=[text("b")],
        letters=[("text:utf8", b"a" + "é".encode() * 31 + b"\xc3")],
        notes={"truncated": 1, "discarded_bytes": 1},
    ),
    "numbers that are no counts, as auto": stream(
        b"12345678901 text\n0 <a>\n05 <b>\n5424 things\n",
        'framing = "auto"',
        records=[text("12345678901 text"), text("0 <a>"), text("05 <b>"), text("5424 things")],
    ),
    "a count that swallows lines, as auto": stream(
        b"999999999 <a>\nb\n", 'framing = "auto"', records=[text("999999999 <a>"), text("b")]
    ),
    "NUL framing": stream(b"a\nb\0\0c\0", 'framing = "nul"', records=[text("a\nb"), text("c")]),
}

TIMES_GOOD = {
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00.000000Z",
    "9999-12-31T23:59:59.9999999Z": "9999-12-31T23:59:59.999999Z",
    "2016-12-31T23:59:60Z": "2016-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00+14:00": "1969-12-31T10:00:00.000000Z",
}
TIMES_BAD = {
    '"2026-01-31T08:00:00"': "timestamp:naive",
    '"0001-01-01T00:00:00+01:00"': "timestamp:range",
    '"9999-12-31T23:59:59-01:00"': "timestamp:range",
    '"10000-01-01T00:00:00Z"': "timestamp:syntax",
    '"2026-02-30T00:00:00Z"': "timestamp:range",
    '"2026-01-31T12:30:60Z"': "timestamp:range",
    '"2026-01-31T25:00:00Z"': "timestamp:syntax",
    '"' + "9" * 60_000 + '"': "timestamp:range",
    '"\uff12\uff10\uff12\uff16-01-31T08:00:00Z"': "timestamp:syntax",
    "1e300": "timestamp:range",
    "253402300800": "timestamp:range",
    "-62135596801": "timestamp:range",
}
TYPED_CASES = {
    "times at the edges": typed(
        [f'{{"ts":"{time}"}}' for time in TIMES_GOOD] + ['{"ts":0}', '{"ts":-0.5}'],
        [(stored, None, None) for stored in TIMES_GOOD.values()]
        + [("1970-01-01T00:00:00.000000Z", None, None), ("1969-12-31T23:59:59.500000Z", None, None)],
        [],
    ),
    "times that are none": typed([f'{{"ts":{time}}}' for time in TIMES_BAD], [], list(TIMES_BAD.values())),
    "wrong types and missing fields": typed(
        [
            '{"ts":0,"value":1,"count":-0}',
            "{}",
            '{"ts":null}',
            '{"ts":0,"value":"1"}',
            '{"ts":0,"value":true}',
            '{"ts":0,"count":1.5}',
            '{"ts":0,"count":"1"}',
            '{"ts":0,"count":[1]}',
            '{"ts":true}',
        ],
        [("1970-01-01T00:00:00.000000Z", 1.0, 0)],
        [
            "schema:required",
            "schema:required",
            "schema:type",
            "schema:type",
            "schema:type",
            "schema:type",
            "schema:type",
            "schema:type",
        ],
    ),
    "JSON rules with a schema": typed(
        [
            '{"ts":0,"any":9223372036854775808}',
            '{"ts":0,"any":[9223372036854775808]}',
            '{"ts":0,"x":1e999}',
            '{"ts":0,"@peer":"x"}',
            '{"ts":0,"any":NaN}',
            '{"ts":0,"any":' + "[" * 64 + "]" * 64 + "}",
        ],
        [],
        ["json:integer", "json:integer", "json:range", "json:reserved", "json:nan", "json:depth"],
    ),
}

POISONS = (
    "huge_int",
    "nan",
    "infinity",
    "surrogate",
    "nested_surrogate",
    "nested_huge_int",
    "object",
    "surrogate_key",
    "complex",
    "function",
    "set_of_objects",
    "cycle",
    "deep",
)
HUGE = f'{{"a":{2**70}}}'  # JSON text holds an integer of any size


REFUSED_BY_THE_STEP = {"python[0] bad_result": 7}
"""`object` and those behind it in `POISONS`: no value of any record. The others are; a sink judges them."""


def poisoned(
    sink: str, rows: list[Any], reasons: dict[str, int], columns: str = "v", executor: str = "inline"
) -> Case:
    """Every poison between good records; `reasons` are the sink's."""
    good = b'{"v":"a"}' if "str" in sink else b'{"v":1}'
    sent = [good, *(b'{"poison":"%s"}' % poison.encode() for poison in POISONS), good]
    return Case(
        sent,
        sink=sink,
        step=f'type = "python", function = "steps.py:poison", executor = "{executor}"',
        rows=[(row,) for row in rows],
        letters=[(reason, None) for reason, n in (REFUSED_BY_THE_STEP | reasons).items() for _ in range(n)],
        columns=columns,
    )


NAMES = ["x'); DROP TABLE records; --", "[x]", "`x`", "a b", "a.b", "SELECT", "--", "数据"]
BAD_NAMES = [
    'x"; DROP TABLE records; --',
    "",
    "a\0b",
    "a\nb",
    "\x1b[31m",
    "x" * 256,
    "V",
    "\u2028",
    "@x",
    "rowid",
    "OID",
    "_rowid_",
]
NAMED = [json.dumps({"v": 1, name: 2}).encode() for name in NAMES + BAD_NAMES]
MANY_KEYS = json.dumps({f"k{n}": n for n in range(100_000)}, separators=(",", ":")).encode()
ADDED = 'columns = { v = "any" }\nextra = "add_column"'
AS_JSON = ['{"v":1}', f'{{"v":{2**70}}}', f'{{"v":{HUGE}}}', '{"v":1}']

SINK_CASES = {
    **{
        f"poison in any, {executor}": poisoned(
            'columns = { v = "any" }',
            [1, HUGE, 1],
            {"row:range": 1, "row:not_finite": 2, "row:surrogate": 1, "row:json": 1},
            executor=executor,
        )
        for executor in ("inline", "thread", "process")
    },
    "poison in int": poisoned('columns = { v = "int" }', [1, 1], {"schema:range": 1, "schema:type": 5}),
    "poison in str": poisoned('columns = { v = "str" }', ["a", "a"], {"schema:type": 5, "row:surrogate": 1}),
    "poison in float": poisoned(
        'columns = { v = "float" }', [1.0, 2.0**70, 1.0], {"schema:range": 2, "schema:type": 3}
    ),
    "poison in json": poisoned(
        'columns = { v = "json" }', ["1", str(2**70), HUGE, "1"], {"row:not_finite": 2, "row:json": 2}
    ),
    "poison in the column extra": poisoned(
        'columns = { w = "any" }', AS_JSON, {"row:not_finite": 2, "row:json": 2}, "extra"
    ),
    "poison in an added column": poisoned(
        'columns = { w = "any" }\nextra = "add_column"',
        [1, HUGE, 1],
        {"row:range": 1, "row:not_finite": 2, "row:surrogate": 1, "row:json": 1},
    ),
    **{
        f"poison in the catch-all table, {executor}": poisoned(
            "buffer = {}", AS_JSON, {"row:not_finite": 2, "row:json": 2}, "record", executor
        )
        for executor in ("inline", "thread", "process")
    },
    "names that are SQL, in added columns": Case(
        NAMED,
        sink=ADDED,
        rows=[
            (1, *(2 if place == own else None for place in range(len(NAMES))), None)
            for own in range(len(NAMES))
        ]
        + [(1, *[None] * len(NAMES), msgspec.json.encode({name: 2}).decode()) for name in BAD_NAMES],
    ),
    "names that are SQL, in JSON": Case(
        NAMED,
        sink='columns = { v = "any" }',
        rows=[(1, msgspec.json.encode({name: 2}).decode()) for name in NAMES + BAD_NAMES],
    ),
    "100,000 keys of one record, in added columns": stream(
        MANY_KEYS + b'\n{"v":1}\n',
        'max_frame = "4MiB"',
        sink=ADDED,
        rows=[(1,)],
        letters=[("row:too_many_columns", None)],
    ),
    "100,000 keys of one record, in JSON": stream(
        MANY_KEYS + b'\n{"v":1}\n',
        'max_frame = "4MiB"',
        sink='columns = { v = "any" }',
        rows=[(None, MANY_KEYS.decode()), (1, None)],
    ),
    "2,000 new keys one after the other": stream(
        b"".join(b'{"v":1,"k%d":%d}\n' % (n, n) for n in range(2000)),
        "",
        sink=ADDED,
        rows=[(999, 999, 998)],
        letters=[("row:too_many_columns", None)] * 1001,
        columns="count(*), sum(v), max(k998)",
    ),
}
CASES = JSON_CASES | FRAMING_CASES | TYPED_CASES | SINK_CASES


@dataclass
class Outcome:
    """What the daemon made of one case."""

    records: list[Any]
    rows: list[tuple[Any, ...]]
    letters: list[tuple[str, str, Any]]
    notes: dict[str, int]


def config_of(cases: dict[str, Case]) -> str:
    parts = [HEAD]
    for place, case in enumerate(cases.values()):
        sink = f"sink{place}" if case.sink else "records"
        steps = f"[{{ {case.step} }}]" if case.step else "[]"
        parts.append(
            f'[sources.case{place}]\ntype = "{case.kind}"\nlisten = "127.0.0.1:0"\n{case.source}\n'
            f'[pipelines.case{place}]\nsources = ["case{place}"]\nsinks = ["{sink}"]\nsteps = {steps}\n'
        )
        if case.sink:
            parts.append(f'[sinks.{sink}]\ntype = "sqlite"\ntable = "{sink}"\n{case.sink}\n')
    return "".join(parts)


def addresses(daemon: Any) -> dict[str, tuple[str, int]]:
    """Where each source listens; of so many the log, which is bounded, does not tell all."""
    status = json.loads(daemon.control("GET", "/status")[1])
    listening = {source["name"]: source["listening"][0].rpartition(":") for source in status["sources"]}
    return {name: (host, int(port)) for name, (host, _, port) in listening.items()}


def send(address: tuple[str, int], case: Case) -> None:
    if case.kind == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in case.sent:
                sock.sendto(data, address)
        return
    with socket.create_connection(address, timeout=30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in case.sent:
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # closed by the daemon with bytes of it unread
            assert sock.recv(1) == b""


def outcome_of(daemon: Any, place: int, case: Case) -> Outcome:
    source = f"case{place}"
    records = daemon.query(f"SELECT record FROM records WHERE source = '{source}' ORDER BY id")  # noqa: S608
    rows = daemon.query(f"SELECT {case.columns} FROM sink{place} ORDER BY rowid") if case.sink else []  # noqa: S608
    plain = {"received", "decoded", "waiting", "connections", "rejected"}
    notes = daemon.query(
        "SELECT counter, reason, sum(n) FROM ledger WHERE pipeline = '' AND sink = ''"  # noqa: S608
        f" AND source = '{source}' GROUP BY 1, 2"
    )
    return Outcome(
        [json.loads(record) for (record,) in records],
        rows,
        daemon.dead_letters(source),
        {
            f"{counter}:{reason}" if reason else counter: n
            for counter, reason, n in notes
            if counter not in plain
        },
    )


@pytest.fixture(scope="module")
def outcomes(start_once: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All cases sent to one daemon, which then stops with books that balance."""
    steps = tmp_path_factory.mktemp("steps") / "steps.py"
    steps.write_text(STEPS)
    daemon = start_once(config_of(CASES).replace("steps.py", str(steps)))
    where = addresses(daemon)
    for place, case in enumerate(CASES.values()):
        send(where[f"case{place}"], case)
    daemon.stop()
    return {name: outcome_of(daemon, place, case) for place, (name, case) in enumerate(CASES.items())}


@pytest.mark.parametrize("name", [*JSON_CASES, *FRAMING_CASES, *TYPED_CASES])
def test_bytes(outcomes: dict[str, Outcome], name: str) -> None:
    case, found = CASES[name], outcomes[name]
    assert found.records == case.records
    assert found.rows == case.rows
    assert found.notes == case.notes
    assert found.letters == [("decode", reason, payload) for reason, payload in case.letters]


@pytest.mark.parametrize("name", SINK_CASES)
def test_records(outcomes: dict[str, Outcome], name: str) -> None:
    case, found = CASES[name], outcomes[name]
    assert found.rows == case.rows
    assert found.notes == case.notes
    reasons = Counter(f"{stage} {reason}".removeprefix("sink ") for stage, reason, _ in found.letters)
    assert reasons == Counter(reason for reason, _ in case.letters)


SHOUTED = """
[admin]
listen = "127.0.0.1:0"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
framing = "octet_counting"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["records"]
steps = [
  { type = "filter", where = "message != 'quiet'" },
  { type = "python", function = "steps.py:shout" },
]
[pipelines.plain]
sources = ["text"]
sinks = ["records"]
[sources.text]
type = "udp"
listen = "127.0.0.1:0"
codec = "text"
[sinks.records]
type = "sqlite"
"""


def test_nothing_a_sender_writes_can_forge_the_log_or_reach_a_terminal(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    daemon = start(SHOUTED)
    daemon.udp(UNPRINTABLE.encode(), b"<0>" + UNPRINTABLE.encode() + b"\xff")
    daemon.udp(UNPRINTABLE.encode(), source="text")
    with contextlib.suppress(ConnectionResetError):
        daemon.tcp(UNPRINTABLE.encode())
    daemon.stop()

    log = daemon.stderr.partition("source lab: ")[0]
    assert log.endswith("\n")
    events = [json.loads(line) for line in log[:-1].split("\n")]
    assert {"step_failed", "framing_error"} <= {event["event"] for event in events}
    assert "forged" not in {event["event"] for event in events}
    assert "<0>emergency" in str(events), "the text is quoted in the log, as a text"
    assert log.replace("\n", "").isprintable()

    for command in (
        ["query", "SELECT * FROM records"],
        ["query", "--json", "SELECT * FROM records"],
        ["dead-letters", "list"],
        ["dead-letters", "list", "--json"],
        ["dead-letters", "show", "1"],
        ["dead-letters", "show", "2"],
    ):
        shown = subprocess.run(
            [sys.executable, "-m", "streamd", *command, "--config", str(daemon.config)],
            cwd=tmp_path,
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout.decode()
        assert "emergency" in shown
        assert shown.replace("\n", "").replace("\t", "").isprintable(), command
