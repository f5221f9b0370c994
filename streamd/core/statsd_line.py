"""One line of StatsD or DogStatsD: metrics, an event or a service check.

https://github.com/statsd/statsd describes StatsD,
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/ DogStatsD (protocol 1.0 to 1.4).
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from streamd.core.batch import Record
from streamd.core.contracts import BadElement
from streamd.core.errors import BadData
from streamd.core.timestamp import from_epoch

TYPES = {
    "c": "counter", "g": "gauge", "ms": "timer", "h": "histogram", "d": "distribution", "s": "set",
    "m": "meter",
}  # fmt: skip
"""The type of a record by the type in a line."""
GAUGE_DELTA = "gauge_delta"
"""The type of a gauge with a sign, which changes its value."""
EVENT, SERVICE_CHECK = "_e{", "_sc|"
"""How an event and a service check begin."""
MOST_COPIES = 65_536
"""Most values of a line, times one more than its tags: each value is a record with its own tags."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_LONGEST_NUMBER = 400
_ESCAPED = re.compile("[\udc80-\udcff]")
"""A byte that is not UTF-8, as `surrogateescape` decodes it."""
_EVENT_HEADER = re.compile(r"_e\{([0-9]{1,7}),([0-9]{1,7})\}:")
_OTHER_SECTION = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,15}:")
"""A section of a later version of the protocol."""
_SECTIONS = {"c:": "container", "e:": "external_data", "card:": "cardinality"}
_OF_EVENT = {
    "h:": "host", "p:": "priority", "t:": "alert_type", "k:": "aggregation_key", "s:": "source_type",
    **_SECTIONS,
}  # fmt: skip
_SYNTAX = "a metric is name:value|type"
_BLANKS = " \t\r\0"
_LONGEST_TIME = 12
_STATUSES = frozenset("0123")


class _Sample(NamedTuple):
    """One metric of a line: `value|kind|option|…`."""

    value: str
    kind: str
    options: Sequence[str]


def line_of(payload: bytes) -> str:
    """The text of bytes; those that are not UTF-8 come back from `bytes_of`."""
    return payload.decode("utf-8", "surrogateescape")


def bytes_of(line: str) -> bytes:
    """The bytes of a text of `line_of`."""
    return line.encode("utf-8", "surrogateescape")


def is_utf8(line: str) -> bool:
    """Whether the bytes of the text are UTF-8."""
    return line.isascii() or not _ESCAPED.search(line)


def records_of(line: str) -> list[Record | BadElement]:
    """The records of a line without its line end; none of a blank one. Costs 2 to 4 µs a metric.

    One line may hold several metrics (`a:1|c:2|c`, `a:1:2|ms`). Only a bad one of them is rejected.
    """
    if not line.strip(_BLANKS):
        return []
    if not is_utf8(line):
        fault = BadData("statsd:utf8", "not UTF-8")
    elif ":" not in line and not line.startswith(SERVICE_CHECK):  # the quick way for many bad lines
        fault = BadData("statsd:syntax", _SYNTAX)
    else:
        try:
            if line.startswith(EVENT):
                return [_event(line.rstrip(_BLANKS))]
            if line.startswith(SERVICE_CHECK):
                return [_service_check(line.rstrip(_BLANKS))]
            return _metrics(line)
        except BadData as bad:
            fault = bad
    return [BadElement(bytes_of(line), fault.reason, fault.detail)]


def _metrics(line: str) -> list[Record | BadElement]:
    name, colon, body = line.rstrip(_BLANKS).partition(":")
    if not colon or not name or "|" in name:
        raise BadData("statsd:syntax", _SYNTAX)
    samples = list(_samples(body))
    if len(samples) == 1:
        return [*_records(name, samples[0])]
    found: list[Record | BadElement] = []
    for sample in samples:
        try:
            found += _records(name, sample)
        except BadData as bad:
            text = "|".join((f"{name}:{sample.value}", sample.kind, *sample.options))
            found.append(BadElement(bytes_of(text), bad.reason, bad.detail))
    return found


def _samples(body: str) -> Iterator[_Sample]:
    """The metrics of a line: in `1|c:2|c|@0.5:3|c` a colon after a type or rate begins the next one."""
    parts = body.split("|")
    value, place = parts[0], 1
    while True:
        if place >= len(parts):
            raise BadData("statsd:syntax", _SYNTAX)
        kind, another, following = parts[place].partition(":")
        place += 1
        options: list[str] = []
        while not another and place < len(parts):
            part = parts[place]
            place += 1
            if part[:1] == "@":
                part, another, following = part.partition(":")
            options.append(part)
        yield _Sample(value, kind, options)
        if not another:
            return
        value = following


def _records(name: str, sample: _Sample) -> list[Record]:
    kind = sample.kind.strip(_BLANKS)
    type_ = TYPES.get(kind)
    if type_ is None:
        raise BadData("statsd:type", f"no type of a metric: {kind[:16]!r}")
    options = _options(sample.options) if sample.options else {}
    if kind == "s":
        if not sample.value:
            raise BadData("statsd:value", "no member of a set")
        return [{"name": name, "type": type_, "member": sample.value, **options}]
    texts = [text for part in sample.value.split(":") if (text := part.strip(_BLANKS))]
    if not texts:
        raise BadData("statsd:value", "no value")
    if len(texts) == 1:
        return [{"name": name, **_value(texts[0], kind), **options}]
    tags = options.get("tags", {})
    if len(texts) * (len(tags) + 1) > MOST_COPIES:
        raise BadData("statsd:value", f"{len(texts)} values with {len(tags)} tags are too many")
    found = []
    for text in texts:
        record = {"name": name, **_value(text, kind), **options}
        if tags:
            record["tags"] = copied_tags(tags)
        found.append(record)
    return found


def _value(text: str, kind: str) -> Record:
    """The type and the value of a metric that is no set."""
    number = _number(text)
    sign = text[0]
    if sign == "+" and kind not in "cgm":
        raise BadData("statsd:value", f"only a counter or a gauge may have a plus: {text[:64]!r}")
    if kind == "ms" and number < 0:
        raise BadData("statsd:value", f"a time is not negative: {text[:64]!r}")
    return {"type": GAUGE_DELTA if kind == "g" and sign in "+-" else TYPES[kind], "value": number}


def _number(text: str) -> float:
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        raise BadData("statsd:value", f"no number: {text[:64]!r}")
    number = float(text)
    if math.isinf(number):
        raise BadData("statsd:value", f"beyond a 64-bit number: {text[:64]!r}")
    return number


def _options(parts: Sequence[str]) -> dict[str, Any]:
    """The fields of the sections behind the type, in any order."""
    found: dict[str, Any] = {}
    for part in parts:
        first = part[:1]
        if first == "@":
            if rate := _sample_rate(part[1:].strip(_BLANKS)):
                found["sample_rate"] = rate
        elif first == "#":
            _add_tags(found, part)
        elif first == "T":
            found["timestamp"] = _timestamp(part[1:])
        elif not _add_section(found, part, _SECTIONS):
            raise BadData("statsd:section", f"neither rate, tags, time nor container: {part[:64]!r}")
    return found


def _add_section(found: dict[str, Any], part: str, names: dict[str, str]) -> bool:
    """Add the field of a section `x:value`. A section that is unknown is left out."""
    if not _OTHER_SECTION.match(part):
        return False
    key, _, value = part.partition(":")
    name = names.get(f"{key}:")
    if name is not None and value:
        found[name] = value
    return True


def _sample_rate(text: str) -> float:
    """The rate; 0, which some clients send, is as good as none."""
    try:
        rate = _number(text)
    except BadData:
        rate = -1.0
    if rate < 0:
        raise BadData("statsd:rate", f"no sample rate: {text[:64]!r}")
    return rate


def _timestamp(digits: str) -> str:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_TIME and int(digits)):
        raise BadData("statsd:timestamp", f"no seconds since 1970: {digits[:64]!r}")
    return from_epoch(int(digits))


def _fill(tags: dict[str, Any], text: str) -> None:
    """Add the tags of `a:1,b`: `{"a": "1", "b": True}`. A tag that occurs again has a list of its values."""
    for part in text.split(","):
        name, colon, value = part.removeprefix("#").partition(":")
        if not name:
            continue
        new = value if colon else True
        if name not in tags:
            tags[name] = new
        elif type(tags[name]) is list:
            tags[name].append(new)
        else:
            tags[name] = [tags[name], new]


def _add_tags(found: dict[str, Any], section: str) -> None:
    tags = found.setdefault("tags", {})
    _fill(tags, section[1:])
    if not tags:
        del found["tags"]


def copied_tags(tags: dict[str, Any]) -> dict[str, Any]:
    """Tags that a step may change without changing those of another record."""
    copy = tags.copy()
    if list in map(type, copy.values()):
        return {name: value.copy() if type(value) is list else value for name, value in copy.items()}
    return copy


def _event(line: str) -> Record:
    header = _EVENT_HEADER.match(line)
    parts = None
    if header is not None:
        sizes = int(header[1]), int(header[2])
        parts = _cut(bytes_of(line[header.end() :]), *sizes) or _cut(line[header.end() :], *sizes)
    if parts is None or not parts[0]:
        raise BadData("statsd:event", "an event is _e{bytes of title,bytes of text}:title|text")
    title, text, rest = parts
    record: Record = {"name": _unescaped(title), "type": "event", "message": _unescaped(text)}
    _add_of_event(record, rest.split("|")[1:])
    return record


def _cut(body: Any, title_size: int, text_size: int) -> tuple[str, str, str] | None:
    """Title, text and the rest, by sizes in bytes or (as some clients count) in characters."""
    end = title_size + 1 + text_size
    bar = b"|" if isinstance(body, bytes) else "|"
    if len(body) < end or body[title_size:][:1] != bar or body[end:][:1] not in (bar, bar[:0]):
        return None
    parts = body[:title_size], body[title_size + 1 : end], body[end:]
    try:
        return parts if isinstance(body, str) else tuple(part.decode() for part in parts)
    except UnicodeDecodeError:
        return None


def _service_check(line: str) -> Record:
    body, _, message = line.partition("|m:")
    _, name, status, *parts = [*body.split("|"), "", ""]
    if not name.strip(_BLANKS) or status not in _STATUSES:
        raise BadData("statsd:check", "a service check is _sc|name|status, with a status from 0 to 3")
    record: Record = {"name": name, "type": "service_check", "value": float(status)}
    if message:
        record["message"] = _unescaped(message.replace("m\\:", "m:"))
    _add_of_event(record, parts)
    return record


def _add_of_event(record: Record, parts: Sequence[str]) -> None:
    """Add the sections of an event or service check. One that is unknown or wrong is left out."""
    for part in parts:
        if part[:1] == "#":
            _add_tags(record, part)
        elif part[:2] == "d:":
            try:
                record["timestamp"] = _timestamp(part[2:])
            except BadData:
                continue
        else:
            _add_section(record, part, _OF_EVENT)


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n")
