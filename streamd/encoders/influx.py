"""The encoder `influx`."""

import math
import re
from datetime import datetime
from typing import Any

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import Encoder, RecordOrigin
from streamd.core.errors import BadData
from streamd.core.json_rules import INT_MAX, INT_MIN
from streamd.core.settings import Settings
from streamd.core.timestamp import canonical
from streamd.encoding.values import json_text
from streamd.line_protocol.grammar import UNSIGNED_MAX
from streamd.line_protocol.names import EXACT, MEASUREMENT, TIMESTAMP
from streamd.line_protocol.times import NS_PER_UNIT, NS_PER_US, Precision

_ESCAPED = {"measurement": re.compile(r"([ ,])"), "key": re.compile(r"([ ,=])")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STRING_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Influx(Encoder["Influx.Config"]):
    """Makes a line of InfluxDB's line protocol of each record.

    The codec `influx` makes the record again: `measurement`, `timestamp` and `timestamp_ns` get their places,
    the names in `tags` become tags, and all others fields. A record with the objects `tags` and `fields`, as
    the codec makes it with `nested`, is written as it is. A null is left out; bytes are base64, lists and
    objects JSON, in strings. A line end in a string is escaped, so each record is one line.

    A record is rejected without a field (`influx:no_field`) or a measurement (`influx:measurement`), and if
    the protocol cannot express a key or tag (`influx:key`, `influx:tag`: empty, with a control character, or
    with a backslash at its end), a number (`row:not_finite`, `row:range`) or a time (`influx:time`). Costs
    about 5 µs for a record of five fields.
    """

    class Config(Settings):
        """What is a tag, and the unit of the times."""

        measurement: str | None = Field(
            None, min_length=1, description="measurement of records that have no field `measurement`"
        )
        tags: list[str] = Field([], description="fields that become tags")
        precision: Precision = Field("ns", description="unit of the timestamps: ns, us, ms, s, m or h")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._tags = frozenset(config.tags)
        self._unit_ns = NS_PER_UNIT[config.precision]

    def encode_one(self, record: Record, origin: RecordOrigin) -> bytes:
        """The line of a record. Raises `BadData`."""
        del origin
        tags, fields = self._divided(record)
        written = [f"{_key(name, 'influx:key')}={_value(value)}" for name, value in fields.items()]
        if not written:
            raise BadData("influx:no_field", "the record has no field that is not null")
        name = record.get(MEASUREMENT)
        series = [_measurement(self.config.measurement if name is None else name)]
        series += [f"{_key(name, 'influx:key')}={_tag(tags[name])}" for name in sorted(tags)]
        line = f"{','.join(series)} {','.join(written)}{self._time(record)}"
        try:
            return line.encode()
        except UnicodeEncodeError as error:
            raise BadData("row:json", f"not expressible as UTF-8: {error.reason}") from None

    def _divided(self, record: Record) -> tuple[Record, Record]:
        """The tags and fields of a record, without nulls."""
        tags, fields = record.get("tags"), record.get("fields")
        if not (isinstance(tags, dict) and isinstance(fields, dict)):
            rest = [name for name in record if name not in (MEASUREMENT, TIMESTAMP, EXACT)]
            tags = {name: record[name] for name in rest if name in self._tags}
            fields = {name: record[name] for name in rest if name not in self._tags}
        return (
            {name: value for name, value in tags.items() if value is not None},
            {name: value for name, value in fields.items() if value is not None},
        )

    def _time(self, record: Record) -> str:
        """The timestamp with the blank before it; empty if the record has none. Raises `BadData`."""
        exact, time = record.get(EXACT), record.get(TIMESTAMP)
        if type(exact) is int:
            ns = exact
        elif time is None:
            return ""
        else:
            try:
                moment = datetime.fromisoformat(canonical(time))
            except BadData as bad:
                raise BadData("influx:time", f"{TIMESTAMP}: {bad.detail}") from None
            since = moment - _EPOCH
            ns = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * NS_PER_US
        if not INT_MIN <= ns <= INT_MAX:
            raise BadData("influx:time", "nanoseconds of the protocol reach from 1677 to 2262")
        return f" {ns // self._unit_ns}"


def _measurement(name: Any) -> str:
    if name is None:
        raise BadData("influx:measurement", "the record has none, and the option measurement is not set")
    name = _text(name)
    if not name or name[0] == "#" or _is_odd(name):
        raise BadData("influx:measurement", f"cannot be written: {name[:64]!r}")
    return _ESCAPED["measurement"].sub(r"\\\1", name)


def _key(name: str, reason: str) -> str:
    if not name or _is_odd(name):
        raise BadData(reason, f"cannot be written: {name!r:.64}")
    return _ESCAPED["key"].sub(r"\\\1", name)


def _tag(value: Any) -> str:
    return _key(_text(value), "influx:tag")


def _text(value: Any) -> str:
    """A text unchanged, bytes as base64, and any other value as JSON."""
    if isinstance(value, str):
        return value
    text = json_text(value)
    return text[1:-1] if isinstance(value, bytes) else text


def _is_odd(name: str) -> bool:
    """Whether a name would not be read as it is: there is no escape for these characters."""
    return name[-1] == "\\" or _CONTROL.search(name) is not None


def _value(value: Any) -> str:
    """Raises `BadData`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if INT_MIN <= value <= INT_MAX:
            return f"{value}i"
        if 0 <= value <= UNSIGNED_MAX:
            return f"{value}u"
        raise BadData("row:range", "an integer beyond 64 bits")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadData("row:not_finite", "NaN or infinity")
        return repr(value)
    return f'"{_text(value).translate(_STRING_ESCAPES)}"'
