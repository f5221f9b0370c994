"""Frames for each codec, as its senders write them, with the options and the schema of one measurement."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import msgspec

_HOSTS, _NAMES = 40, 200
_BEGAN_S = 1_769_846_400
"""2026-01-31T08:00:00Z, when the frames begin."""
_NS, _US = 10**9, 10**6
FUNCTION = (
    "def decode(payload):\n    name, value = payload.split()\n    return {name.decode(): float(value)}\n"
)

READING: Mapping[str, Any] = {
    "ts": "timestamp", "sensor": "str", "seq": "int", "value": "float", "unit": "str", "ok": "bool",
    "site": "str",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecCase:
    """A codec with options, a schema, and the frames that it decodes."""

    codec: str
    what: str
    """The frames, in words."""
    frame: Callable[[int], bytes]
    """The frame with this number."""
    records: int = 1
    """The records in each frame."""
    options: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | Literal["brought"] | None = None
    """The fields of a schema, or that of the codec; then the records are typed."""
    goal_per_s: int | None = None
    """The goal, in records a second."""


def _stamp(number: int) -> str:
    """A time in RFC 3339; 20,000 frames are of one second."""
    second, rest = divmod(number, 20_000)
    return f"2026-01-31T08:{second // 60 % 60:02d}:{second % 60:02d}.{rest * 50:06d}Z"


def syslog(number: int) -> bytes:
    """A message of RFC 5424 without structured data, which ends with `#` and its number."""
    return (
        f"<134>1 {_stamp(number)} edge-{number % _HOSTS:02d} sensor {1000 + number % 7} reading -"
        f" value {number % 35}.{number % 100:02d} C, all well #{number}"
    ).encode()


def syslog_data(number: int) -> bytes:
    """A message of RFC 5424 whose structured data counts the messages."""
    return syslog(number).replace(b" - ", b' [meta sequenceId="%d" language="en"] ' % number, 1)


def _syslog_3164(number: int) -> bytes:
    minute, second = divmod(number // 10_000, 60)
    return (
        f"<34>Jan 31 08:{minute % 60:02d}:{second:02d} edge-{number % _HOSTS:02d}"
        f" sshd[{1000 + number % 700}]: Accepted publickey for ops from 192.0.2.{number % 250}"
        f" port {number % 50_000} ssh2"
    ).encode()


def _influx(number: int) -> bytes:
    return (
        f"weather,site=lab-{number % 4},sensor=s-{number % _NAMES:04d} temp={number % 35}.{number % 100:02d},"
        f"humidity={number % 90}i,ok=t {_BEGAN_S * _NS + number * _US}"
    ).encode()


def _metric(number: int, tags: str = "") -> str:
    name = f"shop.web.requests{number % _NAMES}"
    return (
        f"{name}:{number % 5 + 1}|c{tags}",
        f"{name}.time:{number % 900}.{number % 10}|ms{tags}",
        f"{name}.open:{number % 70}|g{tags}",
    )[number % 3]


def _metric_with_tags(number: int) -> str:
    return _metric(number, f"|#env:prod,host:web-{number % _HOSTS:02d}")


def _lines(line: Callable[[int], str], count: int, number: int) -> bytes:
    return "\n".join(map(line, range(number * count, (number + 1) * count))).encode()


def _gelf(number: int) -> bytes:
    return (
        f'{{"version":"1.1","host":"web-{number % _HOSTS:02d}","short_message":"request {number} done",'
        f'"timestamp":{_BEGAN_S + number / 1000},"level":6,"_route":"/items","_took_ms":{number % 900}}}'
    ).encode()


def _logfmt(number: int) -> bytes:
    return (
        f"ts={_stamp(number)} sensor=s-{number % _NAMES:04d} seq={number} value={number % 35}.5"
        ' unit="°C" ok=true site=lab-a'
    ).encode()


def _graphite(number: int, tags: str = "") -> bytes:
    second = _BEGAN_S + number // 1000
    return f"servers.web{number % _HOSTS}.load{tags} {number % 35}.{number % 100:02d} {second}".encode()


def _reading(number: int) -> dict[str, Any]:
    return {
        "ts": _stamp(number), "sensor": f"s-{number % _NAMES:04d}", "seq": number,
        "value": number % 35 + number % 100 / 100, "unit": "C", "ok": True, "site": "lab-a",
    }  # fmt: skip


def _json(number: int) -> bytes:
    return msgspec.json.encode(_reading(number))


def _msgpack(number: int) -> bytes:
    return msgspec.msgpack.encode(_reading(number))


def _csv(number: int) -> bytes:
    return ",".join(map(str, _reading(number).values())).encode()


def _access(number: int) -> bytes:
    status = 404 if number % 9 == 0 else 200
    return (
        f'192.0.2.{number % 250} [{_stamp(number)}] "GET /items/{number}" {status} {number % 9000}'
    ).encode()


def _packed(number: int) -> bytes:
    return struct.pack(
        "<Q8sIf", _BEGAN_S * 1000 + number, b"s-%04d" % (number % _NAMES), number, number % 35 / 2
    )


_ACCESS = r'(?P<client>[^ ]+) \[(?P<at>[^\]]+)\] "(?P<request>[^"]*)" (?P<status>\d+) (?P<size>\d+)'
_LAYOUT = "<Q ts, 8s sensor, I seq, f value"
_PACKED = {"ts": {"type": "timestamp", "unit": "ms"}, "sensor": "str", "seq": "int", "value": "float"}
_POINT = {
    "timestamp": "timestamp", "measurement": "str", "site": "str", "sensor": "str", "temp": "float",
    "humidity": "int", "ok": "bool",
}  # fmt: skip
_COLUMNS = {"columns": list(READING)}

CASES: Mapping[str, CodecCase] = {
    "syslog": CodecCase(
        codec="syslog", what="RFC 5424", frame=syslog, schema="brought", goal_per_s=600_000,
    ),
    "syslog_dicts": CodecCase(codec="syslog", what="RFC 5424", frame=syslog),
    "syslog_data": CodecCase(
        codec="syslog", what="RFC 5424 with structured data", frame=syslog_data, schema="brought",
    ),
    "syslog_3164": CodecCase(codec="syslog", what="RFC 3164", frame=_syslog_3164, schema="brought"),
    "influx": CodecCase(codec="influx", what="two tags, three fields", frame=_influx, goal_per_s=500_000),
    "influx_typed": CodecCase(
        codec="influx", what="two tags, three fields", frame=_influx, schema=_POINT, goal_per_s=500_000,
    ),
    "statsd": CodecCase(
        codec="statsd", what="a metric without tags", frame=lambda number: _metric(number).encode(),
        goal_per_s=900_000,
    ),
    "statsd_tags": CodecCase(
        codec="statsd", what="a metric with two tags",
        frame=lambda number: _metric_with_tags(number).encode(),
    ),
    "statsd_typed": CodecCase(
        codec="statsd", what="a metric with two tags", schema="brought", goal_per_s=900_000,
        frame=lambda number: _metric_with_tags(number).encode(),
    ),
    "statsd_datagrams": CodecCase(
        codec="statsd", what="16 metrics with two tags in a datagram", schema="brought", records=16,
        frame=partial(_lines, _metric_with_tags, 16),
    ),
    "gelf": CodecCase(codec="gelf", what="a message of seven fields", frame=_gelf),
    "gelf_typed": CodecCase(codec="gelf", what="a message of seven fields", frame=_gelf, schema="brought"),
    "logfmt": CodecCase(codec="logfmt", what="seven pairs", frame=_logfmt),
    "logfmt_typed": CodecCase(codec="logfmt", what="seven pairs", frame=_logfmt, schema=READING),
    "graphite": CodecCase(codec="graphite", what="a line without tags", frame=_graphite),
    "graphite_typed": CodecCase(
        codec="graphite", what="a line with two tags", frame=partial(_graphite, tags=";dc=ber;rack=r7"),
        schema="brought",
    ),
    "msgpack": CodecCase(codec="msgpack", what="a map of seven fields", frame=_msgpack),
    "msgpack_typed": CodecCase(codec="msgpack", what="a map of seven fields", frame=_msgpack, schema=READING),
    "regex": CodecCase(codec="regex", what="five groups", frame=_access, options={"pattern": _ACCESS}),
    "struct": CodecCase(
        codec="struct", what="four values", frame=_packed, options={"layout": _LAYOUT},
    ),
    "struct_typed": CodecCase(
        codec="struct", what="four values", frame=_packed, options={"layout": _LAYOUT},
        schema=_PACKED,
    ),
    "json": CodecCase(codec="json", what="an object of seven fields", frame=_json),
    "json_typed": CodecCase(codec="json", what="an object of seven fields", frame=_json, schema=READING),
    "auto": CodecCase(codec="auto", what="a JSON object of seven fields", frame=_json),
    "csv": CodecCase(codec="csv", what="a row of seven values", frame=_csv, options=_COLUMNS),
    "csv_typed": CodecCase(
        codec="csv", what="a row of seven values", frame=_csv, options=_COLUMNS, schema=READING,
    ),
    "python": CodecCase(
        codec="python", what="your function for a name and a number", options={"function": "steps.py:decode"},
        frame=lambda number: b"temperature %d.5" % (number % 35),
    ),
    "text": CodecCase(codec="text", what="a line of about 100 characters", frame=syslog),
    "raw": CodecCase(codec="raw", what="about 100 bytes", frame=syslog),
}  # fmt: skip
