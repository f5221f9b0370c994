"""Makes the records of a frame, line by line."""

import re
from typing import Any

from streamd.core.batch import Record
from streamd.core.contracts import BadElement
from streamd.core.errors import BadData
from streamd.core.json_rules import INT_MAX
from streamd.core.schema import FieldType, Schema
from streamd.core.text_values import of_type
from streamd.line_protocol.grammar import LinePoint, fault_at, find_parts, read_parts
from streamd.line_protocol.names import EXACT, MEASUREMENT, TAKEN, TIMESTAMP, check_tags, names_of
from streamd.line_protocol.times import Timestamps

_BETWEEN = re.compile(r"(?: *+\r?\n)*+ *+(?:\r?\Z)?+")
_UNDECODABLE = re.compile("[\udc80-\udcff]")
"""What `surrogateescape` makes of bytes that are not UTF-8."""


class Points:
    """Makes records of lines. Costs about 10 µs for a line of one tag and three fields."""

    def __init__(self, times: Timestamps, schema: Schema | None, *, nested: bool) -> None:
        self._times = times
        self._schema = schema
        self._nested = nested
        self._kinds = {} if schema is None else {name: field.type for name, field in schema.fields.items()}

    def read(self, payload: bytes, received: str) -> tuple[list[Record | BadElement], int]:
        """The record or fault of each line, and the number of comments. `received` is the canonical time.

        A line with a fault ends at its first LF, also if a string in it seems to go on: so a quote that is
        missing spoils one line.
        """
        text = payload.decode("utf-8", "surrogateescape")
        parts: list[Record | BadElement] = []
        comments = 0
        at = _after_blanks(text, 0)
        while at < len(text):
            if text[at] == "#":
                comments += 1
                end = _end_of_line(text, at)
            else:
                part, end = self._part(text, at, received)
                parts.append(part)
            at = _after_blanks(text, end)
        return parts, comments

    def _part(self, text: str, at: int, received: str) -> tuple[Record | BadElement, int]:
        found = find_parts(text, at)
        end = _end_of_line(text, at) if found is None else found.end
        if _UNDECODABLE.search(text, at, end):
            return _bad(text[at:end], "influx:utf8", "not UTF-8"), end
        if found is None:
            return _bad(text[at:end], "influx:syntax", fault_at(text, at)), end
        try:
            return self._record(read_parts(found), received), end
        except BadData as bad:
            return _bad(text[at:end], bad.reason, bad.detail), end

    def _record(self, line: LinePoint, received: str) -> Record:
        """Raises `BadData`."""
        written, exact = self._times.read(line.time) if line.time else (received, None)
        tags, fields = dict(line.tags), dict(line.fields)
        if len(tags) < len(line.tags):
            check_tags([key for key, _ in line.tags])
        record: Record = {TIMESTAMP: written, MEASUREMENT: line.measurement}
        if self._nested:
            record |= {"tags": tags, "fields": {key: stored(value) for key, value in fields.items()}}
        else:
            record |= self._flat(tags, fields)
        if exact is not None:
            record[EXACT] = exact
        return record if self._schema is None else self._schema.check(record)

    def _flat(self, tags: dict[str, str], fields: dict[str, Any]) -> Record:
        flat: Record = tags | fields
        names = None
        if len(flat) < len(tags) + len(fields) or not TAKEN.isdisjoint(flat):
            names = names_of(list(tags), fields)
        if names is not None:
            flat = {names[key, True]: value for key, value in tags.items()}
            flat |= {names[key, False]: value for key, value in fields.items()}
        if self._kinds:
            for key, text in tags.items():
                name = key if names is None else names[key, True]
                if (kind := self._kinds.get(name, "str")) not in ("str", "timestamp"):
                    flat[name] = of_type(text, kind)
        for key, value in fields.items():
            if type(value) is int and value > INT_MAX:
                name = key if names is None else names[key, False]
                flat[name] = stored(value, self._kinds.get(name))
        return flat


def stored(value: Any, kind: FieldType | None = None) -> Any:
    """The value for a field of a type. No database stores an integer over 63 bits, so it becomes a text.

    Not for a field that the schema declares as a number: as a float it is stored, as an int rejected.
    """
    if type(value) is int and value > INT_MAX and kind not in ("int", "float"):
        return str(value)
    return value


def _bad(line: str, reason: str, detail: str) -> BadElement:
    original = line.removesuffix("\n").removesuffix("\r").encode("utf-8", "surrogateescape")
    return BadElement(original, reason, detail)


def _after_blanks(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return at if found is None else found.end()


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1
