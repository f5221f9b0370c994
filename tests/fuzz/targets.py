"""What is fuzzed: each target takes bytes, looks at them as a sender or user could have written them, and
says in a few words what became of them, so that the fuzzer knows a new kind of outcome. It raises
`AssertionError` where a promise is broken; any other exception is a find too.
"""

import gzip
import itertools
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streamd import config, registry
from streamd.codecs.gelf import Gelf
from streamd.config.brought_schemas import brought_fields
from streamd.core.batch import Batch
from streamd.core.contracts import Frame
from streamd.core.errors import BadData, ConfigError, FramingError
from streamd.core.expression import Expression
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.schema import FieldSettings, Schema
from streamd.core.timestamp import canonical
from streamd.net.proxy_header import LONGEST_LINE_BYTES, LONGEST_REST_BYTES, ProxyHeader
from streamd.sqlite.catch_all import CatchAllRows
from streamd.sqlite.typed_rows import TypedRows

NOW = Now(1.8e9, 0.0)
LIMITS = (1, 2, 8, 64, 1024)
POLICIES = ("truncate", "drop", "close")
PREFIXES = (
    {"size": 1},
    {"size": 2, "order": "little"},
    {"size": 4},
    {"size": 1, "inclusive": True},
    {"size": 4, "order": "little", "inclusive": True},
)
SCHEMA = Schema(
    "fuzzed",
    {
        "ts": FieldSettings(type="timestamp", required=False),
        "n": FieldSettings(type="int", required=False, ge=-5),
        "x": FieldSettings(type="float", required=False),
        "s": FieldSettings(type="str", required=False),
        "b": FieldSettings(type="bytes", required=False),
        "any": FieldSettings(type="any", required=False),
        "json": FieldSettings(type="json", required=False),
    },
)
GRAPHITE = Schema(
    "graphite",
    {
        "timestamp": FieldSettings(type="timestamp"),
        "path": FieldSettings(type="str"),
        "tags": FieldSettings(type="json"),
        "value": FieldSettings(type="float", ge=-5),
    },
)
STATSD = Schema("statsd", brought_fields(registry.load("codecs", "statsd")))
SYSLOG = Schema("syslog", brought_fields(registry.load("codecs", "syslog")))
RECORDS: tuple[dict[str, Any], ...] = (
    {},
    {"a": 1, "b": "text", "c": {"d": [1, 2.5, None]}, "value": 21.5},
    {"a": "1", "b": None, "c": [], "value": 2**63 - 1, "@peer": "127.0.0.1:1"},
    {"a": True, "b": "\ud800", "c": {"d": {}}, "value": -0.0},
)


class Target(NamedTuple):
    """`tokens` are what mutations put in beside random bytes."""

    check: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    tokens: tuple[bytes, ...]


def framing(name: str) -> Callable[[bytes], object]:
    """The first three bytes choose limit, policy or prefix, and cuts; the rest is the stream."""

    def run(pieces: list[bytes], choice: int) -> tuple[Any, ...]:
        cls = registry.load("framing", name)
        options = PREFIXES[choice // 15 % len(PREFIXES)] if name == "length_prefix" else {}
        limit = LIMITS[choice % 5]
        framer = cls(cls.Config(**options), limit, POLICIES[choice // 5 % 3])
        frames: list[bytes] = []
        fault, lost = "", 0
        for piece in pieces:
            if fault:
                lost += len(piece)
                continue
            try:
                frames += framer.feed(piece)
            except FramingError as error:
                frames += error.frames
                fault = error.reason
                lost += error.discarded_bytes
            assert framer.waiting_bytes <= limit + 11
            assert framer.waiting_bytes == 0 or not framer.between_frames
        frames += framer.feed_eof()
        lost += framer.counts.pop("discarded_bytes", 0)
        assert all(0 < len(frame) <= limit for frame in frames)
        assert sum(map(len, frames)) + lost <= sum(map(len, pieces))
        flags = [frame.flag for frame in frames if isinstance(frame, FlaggedFrame)]
        assert flags.count("truncated") == framer.counts.get("truncated", 0)
        assert flags.count("unterminated") == framer.counts.get("unterminated", 0)
        return frames, flags, fault, lost, framer.counts

    def check(data: bytes) -> object:
        choice, cut, stream = data[0] if data else 0, data[1:3], data[3:]
        whole = run([stream], choice)
        step = max(1 + cut[0] % 7 if cut else 1, len(stream) // 500)
        edges = [*range(0, len(stream), step), len(stream)]
        assert run([stream[a:b] for a, b in itertools.pairwise(edges)], choice) == whole
        half = cut[-1] if cut else 0
        assert run([stream[:half], b"", stream[half:]], choice) == whole
        return choice % 15, whole[2], *whole[1][:2], *sorted(whole[4]), min(len(whole[0]), 3)

    return check


def codec(
    name: str,
    schema: Schema | None = None,
    options: dict[str, Any] | None = None,
    neighbour: bytes = b"",
) -> Callable[[bytes], object]:
    """One frame alone, among good ones, and one by one: always the same records, and all can be stored."""
    cls = registry.load("codecs", name)
    rows = CatchAllRows() if schema is None else TypedRows(schema.fields, metadata=True, extra="json")

    def decode(payloads: list[bytes], *, typed: bool = False) -> tuple[list[Any], list[Any]]:
        made = cls(cls.Config(**options or {}), schema)
        made.load(Path(__file__).parents[1] / "codecs")
        made.typed = typed
        done = made.decode(Frames.of(payloads, "127.0.0.1:5", 1e9), NOW)
        assert len(done.records) == len(done.origins if done.origins is not None else payloads)
        records = list(done.records)
        if done.typed and schema is not None:
            records = [schema.to_dict(record) for record in records]
        return records, [(bad.payload, bad.reason, bad.element) for bad in done.rejects]

    def check(data: bytes) -> object:
        records, rejects = decode([data])
        good = b"n,b\n1," if name == "csv" and not options else b"1,2" if name == "csv" else b'{"n":1}'
        good = neighbour or good
        ones, none = decode([good])
        assert not none
        assert decode([good, data, good]) == (ones + records + ones, rejects)
        assert decode([data], typed=True) == (records, rejects)
        one = cls(cls.Config(**options or {}), schema)
        one.load(Path(__file__).parents[1] / "codecs")
        try:
            found = one.decode_frame(Frame(data, Peer("127.0.0.1:5"), 1e9), NOW)
        except BadData as bad:
            parts, whole = [], [bad.reason]
        else:
            parts, whole = found if isinstance(found, list) else [found], []
        assert [part for part in parts if isinstance(part, dict)] == records
        assert [reason for _, reason, element in rejects if not element] == whole
        stored = rows.of(Batch.of(records, "source", "main", "peer", 1.8e9))
        assert not stored.rejects, stored.rejects
        if name != "raw":
            msgspec.json.encode(records)
        found_fields = tuple(field for field in cls.brings if records and field in records[0])
        reasons = tuple(sorted({reason for _, reason, _ in rejects}))
        return len(records) > 1, bool(records), reasons, found_fields, tuple(sorted(one.counts))

    return check


def gelf(data: bytes) -> object:
    """Datagrams between FF FF: in one read and one by one the same records, and each has one fate."""
    payloads = data.split(b"\xff\xff")

    def run(reads: list[list[bytes]]) -> tuple[list[Any], list[tuple[bytes, str]]]:
        codec = Gelf(Gelf.Config(max_message="4KiB", max_incomplete_per_sender=2), None)
        records: list[Any] = []
        rejects: list[tuple[bytes, str]] = []
        fates: Counter[bytes] = Counter()
        for read in reads:
            done = codec.decode(Frames.of(read, "127.0.0.1:5", 1e9), NOW)
            records += done.records
            rejects += [(bad.payload, bad.reason) for bad in done.rejects]
            fates.update(read if done.frames is None else done.frames.payloads)
        last = codec.finish(NOW)
        if last is not None and last.frames is not None:
            rejects += [(bad.payload, bad.reason) for bad in last.rejects]
            fates.update(last.frames.payloads)
        assert fates == Counter(payloads)
        assert len(records) + len(rejects) <= len(payloads)
        return records, sorted(rejects)

    records, rejects = run([payloads])
    assert run([[payload] for payload in payloads]) == (records, rejects)
    assert not CatchAllRows().of(Batch.of(records, "source", "main", "peer", 1.8e9)).rejects
    msgspec.json.encode(records)
    return min(len(records), 3), tuple(sorted({reason for _, reason in rejects}))


def expression(data: bytes) -> object:
    """A text is an expression, whose evaluation raises `BadData` only, or a `ValueError` at once."""
    try:
        compiled = Expression(data.decode("utf-8", "replace"))
    except ValueError as error:
        return str(error).partition(":")[0][:30]
    outcomes = []
    for record in RECORDS:
        before = repr(record)
        try:
            outcomes.append(type(compiled.evaluate(record)).__name__)
        except BadData as bad:
            outcomes.append(bad.reason)
        assert repr(record) == before
        chosen, rejects = compiled.select([record])
        assert len(chosen) + len(rejects) <= 1
    return tuple(outcomes)


def configuration(data: bytes) -> object:
    """A file is a configuration, or a `ConfigError` that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzzed.toml"
        path.write_bytes(data)
        try:
            loaded = config.load(path)
        except ConfigError as error:
            text = str(error)
            assert str(path) in text
            return text.splitlines()[0].rpartition(":")[2][:40]
    return len(loaded.config.sources)


def timestamp(data: bytes) -> object:
    """A text is a time, whose canonical text is fixed, or `BadData`."""
    text = data.decode("utf-8", "replace")
    try:
        made = canonical(text)
    except BadData as bad:
        return bad.reason
    assert len(made) == 27
    assert canonical(made) == made
    return len(text)


def proxy_header(data: bytes) -> object:
    """The first two bytes choose the pieces; the rest begins with a header, or there is a reason."""

    def run(pieces: list[bytes]) -> tuple[str, Any, bytes]:
        header, rest = ProxyHeader(), None
        fed = 0
        for piece in pieces:
            if rest is not None:
                rest += piece
                continue
            try:
                rest = header.feed(piece)
            except BadData as bad:
                return bad.reason, None, b""
            fed += len(piece)
            assert rest is not None or fed < max(LONGEST_LINE_BYTES, LONGEST_REST_BYTES + 16)
        return ("whole" if rest is not None else "unfinished"), header.client, rest or b""

    cut, stream = data[:2], data[2:]
    whole = run([stream])
    step = max(1 + cut[0] % 7 if cut else 1, len(stream) // 500)
    edges = [*range(0, len(stream), step), len(stream)]
    assert run([stream[a:b] for a, b in itertools.pairwise(edges)]) == whole
    half = cut[-1] if cut else 0
    assert run([stream[:half], b"", stream[half:]]) == whole
    outcome, client, rest = whole
    assert stream.endswith(rest)
    assert client is None or client.host
    return outcome, client is None, bool(rest), stream[:1]


_PROXY = (
    b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b" ", b"\r\n", b"\r", b"\n", b"1.2.3.4", b"::ffff:1.2.3.4",
    b"65535", b"0", b"\r\n\r\n\0\r\nQUIT\n", b"\x21\x11", b"\x20\0", b"\x21\x31\0\xd8", b"\0\x0c", b"\x10\0",
)  # fmt: skip
_STREAM = (
    b"\n", b"\r\n", b"\0", b" ", b"<", b"{", b"0 ", b"1 ", b"12 <", b"3 abc", b"999999999 ",
    b"9999999999", b"\xff", b"\0\0\0\3abc", b"\3abc", b"abcdefgh", b"5 {",
)  # fmt: skip
_JSON = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\ud800", b"\\u0040", b'"n":', b'"@peer":1',
    b'"ts":', b'"any":', b'"x":', b"1e999", b"NaN", b"Infinity", b"null", b"true", b"9223372036854775808",
    b"-0", b"\n", b"\r\n", b"\xff", b"\xef\xbb\xbf", b"\0", b'{"n":1}', b'"2026-01-31T08:00:00Z"',
    b'"b":"AA=="', "数".encode(), b"\xff\xfe",
)  # fmt: skip
_WORDS = (
    b"and ", b"or ", b"not ", b"in ", b"is None", b"==", b"<", b"+", b"*", b"**", b"%", b"//", b"(", b")",
    b"[", b"]", b"a", b"c.d", b"'x'", b"1", b"1e308", b"0", b"len(", b"field('", b"meta('peer')",
    b"startswith(", b", ", b"if ", b"else ", b"lambda: ", b"__class__", b"round(", b"-", b"{",
    b"\xef\xbc\x91", b"\n", b"#", b"f'{a}'", b":=", b"~",
)  # fmt: skip
_TOML = (
    b"[", b"]", b"=", b'"', b"'''", b"\n", b"[sources.a]\n", b'type = "udp"\n',
    b'listen = "127.0.0.1:0"\n', b"{", b"}", b'codec = "json"\n', b"[schemas.s]\n", b"steps = [",
    b'{ type = "filter", where = "a" }', b"1", b"true", b"1e999", b"\\ud800", b"#", b"\xff",
    b'schema = "s"\n', b'"5s"', b'{ env = "X" }', b"[[", b"]]", b".", b"inf", b"nan", b"'",
)  # fmt: skip
_JSON_SEEDS = (
    b'{"n":1,"x":2.5,"s":"a","ts":"2026-01-31T08:00:00Z"}', b'[{"n":1},{"n":-9},7]',
    b'{"n":1}\n{"n":2}\nx', b"", b'{"any":{"a":[[[1]]]},"json":[1,null],"b":"AAE="}',
    b'{"y":{"a":1},"n":1}', b"text",
)  # fmt: skip
_CSV = (
    b",", b'"', b'""', b"\n", b"\r\n", b"\r", b"a,b", b"n,x", b"1,2", b"\xef\xbb\xbf", b"\0", b"\xff",
    b"ts,", b"@peer",
    b"2026-01-31T08:00:00Z", b"true", b"1e999", b"-0", b"9223372036854775808", b"[1]", b"{", b";", b" ",
)  # fmt: skip
_CSV_SEEDS = (
    b"a,b\n1,2\n3,4\n", b'n,s\r\n1,"x ""y"", z"\r\n', b"1,2", b"", b'a\n"x\ny"\n', b"a,a\n1,2\n",
    b"ts,n,x,s,b,any,json\n2026-01-31T08:00:00Z,1,2.5,x,AA==,y,[1]\n", b'a,b\n1,"2\n3,4\n',
)  # fmt: skip
_GRAPHITE = (
    b" ", b"\t", b"\n", b"\r\n", b";", b"=", b";a=b", b"-1", b"N", b"nan", b"1e999", b"1.5", b"1769846400",
    b".5", b"+", b"\x80\x02", b"\0", b"\xff", b"\xef\xbb\xbf", b"_", "数".encode(), b"99999999999",
)  # fmt: skip
_GRAPHITE_SEEDS = (
    b"a.b 1.5 1769846400", b"a;b=c;d= -2 N\n", b"a 1\nb nan 0\nc 2 -1\n", b"\0\0\0\x10\x80\x02]", b"",
)  # fmt: skip
_LOGFMT = (
    b" ", b"=", b'"', b"\\", b"\n", b"\t", b"\x1e", b"\0", b"n=1", b"s=x", b'b="AA=="', b"x=1e999", b"x=",
    b"ts=", b"\\ud83d", b"\\ude00", b"@peer=1", b"\xff", b"\xc2\xa0", b"\xef\xbb\xbf", b"any", b"json=[1]",
    b"true",
)  # fmt: skip
_LOGFMT_SEEDS = (
    b'n=1 s="a b" retry', b'a="x\\"y\\u00e9" b=c=d', b"a=1\nplain\nb=2\n", b'a="open', b"",
    b'ts=2026-01-31T08:00:00Z n=1 x=2.5 b="AA==" any=y json="[1]"',
)  # fmt: skip
_GELF = (
    b"\xff\xff", b"\x1e\x0f", b"AAAAAAAA", b"AAAAAAAB", b"\0\1", b"\0\2", b"\1\2", b"\x1f\x8b\x08",
    b'{"short_message":"m"}', b'"host":"h",', b'"_a":', b'"level":"3"', b'"timestamp":', b"\0", b"1e999",
    b"\x78\x9c", b"{", b'"@peer":1', b"\xef\xbb\xbf",
)  # fmt: skip
_CHUNK = b"\x1e\x0fAAAAAAAA"
_GELF_SEEDS = (
    b'{"version":"1.1","host":"h","short_message":"m","timestamp":1.5,"level":1,"_a":2}\xff\xff{"message":"m"}',
    _CHUNK + b'\0\2{"short_\xff\xff' + _CHUNK + b'\1\2message":"m"}',
    _CHUNK + b"\1\2x\xff\xff" + _CHUNK + b"\1\2x\xff\xff" + _CHUNK + b"\2\3x\xff\xff" + _CHUNK + b"\0\2",
    zlib.compress(b'{"short_message":"m"}'),
    gzip.compress(b'{"short_', mtime=0) + gzip.compress(b'message":"m"}', mtime=0) + b"\0",
    zlib.compress(bytes(5000)),
)
_MSGPACK = (
    b"\x81", b"\x82", b"\x91", b"\x92", b"\xa1n", b"\xa1x", b"\xa2ts", b"\xa1b", b"\xc4\1\xff", b"\xc0",
    b"\xc1", b"\xc3", b"\xcf", b"\xd3", b"\xca\x7f\xc0\0\0", b"\xcb", b"\xd6\xff", b"\xd7\xff", b"\xd4\1\2",
    b"\xc7\x0c\xff", b"\xdd\0\0\0\2", b"\xdf\xff\xff\xff\xff", b"\xff\xff\xff\xff", b"\xa5@peer",
    b"\xa1\xff", b"\xa3any", b"\xdb",
)  # fmt: skip
_MSGPACK_SEEDS = (
    msgspec.msgpack.encode({"n": 1, "x": 2.5, "s": "a", "ts": 1769846400.5, "b": b"\xff"}),
    msgspec.msgpack.encode([{"n": 1}, {"n": -9}, 7]),
    msgspec.msgpack.encode({"any": {"a": [[[1]]]}, "json": [1, None], 2: 3}),
    b"\x81\xa2ts\xd6\xff\0\0\0\1",
)
_INFLUX = (
    b"m", b",t=a", b",t=", b" ", b"f=1", b",g=2i", b',s="a b"', b'"', b"=", b",", b"\\", b"\n", b"\r\n",
    b"\xff", b"1769846400000000000", b"\0", b"#", b",@peer=x", b",timestamp=x", b"f=x", b"-1", b"1e999", b"t",
    b",n=1", b"18446744073709551615u", b",x=2.5", b"\xe6\x95\xb0", b"1_0", b"+1", b"9223372036854775808",
)  # fmt: skip
_INFLUX_SEEDS = (
    b"m f=1 1769846400000000000", b'm,t=a,u=b f=1.5,n=2i,s="x\\"y" 1769846400123456789\nm f=t\n', b"",
    b"m f=1 1\nm f=2 2\nm f=3 3\nm f=x 4\nm f=5 5\n# c\n\nm,f=a f=1", b'm s="a\nb" 1\nm s="\nm f=1\nm n=-9i',
    b"m,n=a f=1\nm,n=a f=1\nm,n=a f=1\nm,n=a f=1",
)  # fmt: skip
_INFLUX_STREAMS = (
    b'\3\1\5m f=1\nm s="a\nb"\r\n', b'\1\1\3m s="abc\nm f=1\nm f=2\n', b'\3\1\3m,t=" f="\\"\n" 1\n',
)  # fmt: skip
_STATSD = (
    b":", b"|", b"\n", b"|c", b"|g", b"|ms", b"|s", b"|@0.1", b"|#", b",", b"|T1", b"|c:", b"_e{1,1}:",
    b"_sc|", b"1", b"-", b"+", b".", b"e", b"nan", b"n:1|c", b"\r", b"\0", b" ", b"\xff", b"_", b"|m:",
)  # fmt: skip
_STATSD_SEEDS = (
    b"n:1|c|@0.1|#a:b,c,a:d\nm:-2|g\nt:1:2|ms|T1657100430\n", b"a:1|c:2|c|@0.5:x|s", b"",
    b"_e{5,4}:title|text|d:21|h:host|#a:b\n_sc|up|0|m:fine", b"n:1|c|c:id|e:x|card:low\r\n\0", b"n:x|c\nn",
)  # fmt: skip
_SYSLOG = (
    b"<34>1 ", b"<", b">", b"1 ", b"- ", b"2003-10-11T22:14:15.003Z ", b"-06-30T23:59:60", b'[a b="c"]', b"[",
    b"]", b'"', b"=", b"\\", b"Oct 11 22:14:15 ", b"Feb 29 ", b"2003 ", b".123456789", b"host ", b"tag[7]: ",
    b": ", b"29: ", b"*", b"%SYS-5-X: ", b" CET", b"+01:00", b"CLC 6/0: ", b"\n", b"\r\n", b"\0", b"\x1e",
    b"\xff", b"\xef\xbb\xbf", b"\xc2\xa0", b"\xd9\xa1", b"CEF:0|", b"|", b"LEEF:2.0|", b"^", b"@cee:",
    b'{"a":1}', b" ", b"\t",
)  # fmt: skip
_SYSLOG_SEEDS = (
    b"<34>1 2003-10-11T22:14:15.003Z host su 8710 ID47 - \xef\xbb\xbfmessage\n",
    b"<191>1 - - - - - -",
    b'<13>1 2026-01-31T08:00:00+01:00 h a - - [a@1 b="c\\"]" b="d"][e f=g] CEF:0|a|b|c|d|e|f|k=v w l=x',
    b"",
    b"<13>Oct 11 22:14:15 host tag[7]: LEEF:2.0|a|b|c|d|^|k=v^l=w\0",
    b"<999>hello",
    b"<189>29: foo: *Apr 29 13:58:40.411 CET: %SYS-5-CONFIG_I: Configured",
    b"Feb 29 1:2:3 2023 h t: @cee: {}",
    b"<13>2026/01/31 08:00:00,5 ::1 x: \xff",
    b"<134>1 1563249630.774247467 host urls",
)
_LAYOUT = {"layout": "<h n, 2s s, f x"}
_BINARY = (
    b"", b"\0\0\0\0\0\0\xc0\x7f", b"\xff\xffab\0\0\x80?", b"\0", b"a", b"\xff", b"\0\0", b"\x80?",
    b"\xc3\xa9",
)  # fmt: skip
_CONFIGS = tuple(path.read_bytes() for path in sorted((Path(__file__).parents[2] / "config").glob("*.toml")))
_FRAME_SEEDS = (
    b"\3\1\5a\nbb\r\nccc",
    b"\2\2\2003 abc12 <abc",
    b"\1\3\1\0\0\0\3abc\3abc",
    b"\4\2\3" + b"x" * 99,
)

TARGETS = {
    **{
        f"framing-{name}": Target(framing(name), _FRAME_SEEDS, _STREAM)
        for name in ("newline", "nul", "auto", "octet_counting", "length_prefix")
    },
    "framing-influx": Target(
        framing("influx"),
        _INFLUX_STREAMS,
        (b'"', b'="', b"\\", b"m f=1", b"m ", b",t=", b"#", *_STREAM),
    ),
    "codec-influx": Target(codec("influx", neighbour=b"m f=1 0"), _INFLUX_SEEDS, _INFLUX),
    "codec-influx-nested": Target(
        codec("influx", options={"nested": True, "precision": "s"}, neighbour=b"m f=1 0"),
        _INFLUX_SEEDS,
        _INFLUX,
    ),
    "codec-influx-schema": Target(codec("influx", SCHEMA, neighbour=b"m f=1 0"), _INFLUX_SEEDS, _INFLUX),
    "framing-msgpack": Target(
        framing("msgpack"), tuple(b"\x13\2\5" + seed * 3 for seed in _MSGPACK_SEEDS), _MSGPACK
    ),
    **{f"codec-{name}": Target(codec(name), _JSON_SEEDS, _JSON) for name in ("json", "auto", "text", "raw")},
    "codec-graphite": Target(codec("graphite", neighbour=b"a 1 0"), _GRAPHITE_SEEDS, _GRAPHITE),
    "codec-graphite-schema": Target(
        codec("graphite", GRAPHITE, neighbour=b"a 1 0"), _GRAPHITE_SEEDS, _GRAPHITE
    ),
    "codec-logfmt": Target(codec("logfmt", neighbour=b"n=1"), _LOGFMT_SEEDS, _LOGFMT),
    "codec-logfmt-schema": Target(codec("logfmt", SCHEMA, neighbour=b"n=1"), _LOGFMT_SEEDS, _LOGFMT),
    "codec-struct": Target(codec("struct", options=_LAYOUT, neighbour=b"\1\0a\0\0\0\0\0"), _BINARY, _BINARY),
    "codec-struct-schema": Target(
        codec("struct", SCHEMA, _LAYOUT | {"nan": "null"}, b"\1\0a\0\0\0\0\0"), _BINARY, _BINARY
    ),
    "codec-regex": Target(
        codec("regex", options={"pattern": "(?P<a>[^ ]*)(?: (?P<n>.*))?"}, neighbour=b"n 1"),
        _LOGFMT_SEEDS,
        _LOGFMT,
    ),
    "codec-python": Target(
        codec("python", options={"function": "decoders.py:pairs"}, neighbour=b"n=1"),
        _LOGFMT_SEEDS,
        (*_LOGFMT, b";"),
    ),
    "codec-csv": Target(codec("csv"), _CSV_SEEDS, _CSV),
    "codec-csv-columns": Target(codec("csv", options={"columns": ["a", "b"]}), _CSV_SEEDS, _CSV),
    "codec-csv-schema": Target(codec("csv", SCHEMA), _CSV_SEEDS, _CSV),
    "codec-msgpack": Target(codec("msgpack", neighbour=b"\x81\xa1n\1"), _MSGPACK_SEEDS, _MSGPACK),
    "codec-msgpack-schema": Target(
        codec("msgpack", SCHEMA, neighbour=b"\x81\xa1n\1"), _MSGPACK_SEEDS, _MSGPACK
    ),
    "codec-gelf": Target(gelf, _GELF_SEEDS, _GELF),
    "codec-statsd": Target(codec("statsd", neighbour=b"n:1|c|#a:b"), _STATSD_SEEDS, _STATSD),
    "codec-statsd-schema": Target(codec("statsd", STATSD, neighbour=b"n:1|c|#a:b"), _STATSD_SEEDS, _STATSD),
    "codec-syslog": Target(
        codec("syslog", options={"parse": ["cee", "cef", "leef"], "raw": True}, neighbour=_SYSLOG_SEEDS[1]),
        _SYSLOG_SEEDS,
        _SYSLOG,
    ),
    "codec-syslog-schema": Target(
        codec("syslog", SYSLOG, {"timezone": "Europe/Berlin"}, _SYSLOG_SEEDS[1]), _SYSLOG_SEEDS, _SYSLOG
    ),
    "codec-json-schema": Target(codec("json", SCHEMA), _JSON_SEEDS, _JSON),
    "proxy-header": Target(
        proxy_header,
        (
            b"\1\7PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\nx",
            b"\2\3PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
            b"\3\x10PROXY UNKNOWN\r\n",
            b"\4\x0d\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\2\x08\x0a\0\0\1\0\x09\1\xbb\4\0\0x",
            b"\5\x11\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + b"\xfd" * 36,
            b"\6\x0c\r\n\r\n\0\r\nQUIT\n\x20\0\0\0x",
        ),
        _PROXY,
    ),
    "expression": Target(
        expression, (b"a + 1 > len(b) and c.d is not None", b"round(value, 1) % 2 == 1"), _WORDS
    ),
    "configuration": Target(configuration, _CONFIGS, _TOML),
    "timestamp": Target(
        timestamp,
        (b"2026-01-31T08:00:00.5+01:00", b"2016-12-31t23:59:60z"),
        (*b"0 9 : - + T Z . 60 23:59 \xd9\xa1 0001-01-01 9999-12-31".split(), b" "),
    ),
}
