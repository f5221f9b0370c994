"""The codec `statsd`."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import msgspec

from streamd.core.batch import Record
from streamd.core.contracts import BadElement, BadFrame, Codec, Decoded
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from streamd.core.statsd_line import EVENT, GAUGE_DELTA, bytes_of, copied_tags, is_utf8, line_of, records_of

_LINE_ENDS = b"\n\r\0 "
_UNSIGNED = re.compile(r"[0-9.]*+")
"""Of the texts that Python reads as a float, those with only these characters are a decimal number."""
_MAY_BE_NEGATIVE = frozenset(("counter", "meter", "histogram", "distribution"))
_LONGEST_VALUE = 64
_LONGEST_ENDING, _MOST_ENDINGS = 256, 4096
_RECORD_BYTES, _TAG_BYTES = 300, 140
"""Memory of a record without tags, and of each tag."""


_Ending = tuple[str, Record, Callable[[], dict[str, Any]] | None]
"""What is behind the first `|` of a line with one metric: type, fields of the options, copies of its tags."""


class Statsd(Codec[Settings]):
    """Decodes metrics of StatsD and DogStatsD: `name:value|type|@rate|#tag:value,tag`, one a line.

    A record has `name`, `type` and `value`, and what else the line says: `sample_rate`, `tags` (an object),
    `timestamp`, `container`. The types are:

    - `counter` (`c`) and `meter` (`m`): a number to be summed;
    - `gauge` (`g`): a number; with a sign it is a `gauge_delta`, a change of the last value;
    - `timer` (`ms`), `histogram` (`h`), `distribution` (`d`): a number; a time is not negative;
    - `set` (`s`): instead of `value` any text as `member`;
    - `event` (`_e{5,4}:title|text`): `name` is the title, `message` the text; `host`, `priority` and others;
    - `service_check` (`_sc|name|0`): `value` is the status from 0 to 3; `message`, `host`.

    Names, tags and values stay as they were sent: the step `statsd_aggregate` applies the sample rate. A tag
    without a value is true; one that occurs again has a list. A datagram or frame has any number of lines,
    and a line any number of values (`a:1:2:3|ms`, `a:1|c:2|c`): each is a record.

    A bad line is rejected alone: `statsd:syntax`, `statsd:value`, `statsd:type`, `statsd:rate`,
    `statsd:section`, `statsd:timestamp`, `statsd:event`, `statsd:check`, `statsd:utf8`. A frame without a
    line is rejected as `empty`. A plus sign is for counters and gauges only. Sections that a later version of
    the protocol may add (`x:…`) are skipped.

    A metric costs about twice as much as a record of 7 fields with `json`, and half as much again with a
    schema. Most lines are cheap because what follows their first bar was seen before; others, like those of
    sets and of changed gauges, cost three times as much.
    """

    # What follows the first | of a line repeats from line to line. It is parsed once and then looked up in
    # `_endings`. A line that is not `name:number|ending` with a known ending takes `records_of`.

    brings: ClassVar[Mapping[str, str]] = {
        "name": "str", "type": "str", "value": "float", "member": "str", "sample_rate": "float",
        "tags": "json", "timestamp": "timestamp", "container": "str", "host": "str", "message": "str",
    }  # fmt: skip

    def __init__(self, config: Settings, schema: Schema | None) -> None:
        super().__init__(config, schema)
        self._endings: dict[str, _Ending] = {}

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order."""
        if self.schema is None:
            return self._decode(frames)
        done = self._decode(frames)
        records, typed = _of_schema(done.records, self.schema)
        if records is None:
            return self.decode_each(frames, range(len(frames)), now)
        if typed and self.typed:
            done.records, done.typed = records, True
        else:
            done.records = list(map(self.schema.to_dict, records)) if typed else records
        return done

    def _decode(self, frames: Frames) -> Decoded:
        """As `decode`, without the schema."""
        bodies = [payload.rstrip(_LINE_ENDS) for payload in frames.payloads]
        text = line_of(b"\n".join(bodies))
        lines = text.split("\n")
        entries = self._look_up(lines)
        if EVENT in text or not is_utf8(text):
            for place, line in enumerate(lines):
                if line.startswith(EVENT) or not is_utf8(line):
                    entries[place] = line
        if len(lines) == len(bodies) and str not in map(type, entries):
            return Decoded(entries, size_bytes=_size_bytes(entries, frames))
        done = Decoded([], [])
        place = 0
        for index, body in enumerate(bodies):
            count = body.count(b"\n") + 1
            self._add_frame(done, index, entries[place : place + count], frames.payloads[index])
            place += count
        done.size_bytes = _size_bytes(done.records, frames)
        return done

    def _add_frame(self, done: Decoded, index: int, entries: list[Any], payload: bytes) -> None:
        """Add what a frame holds to the result."""
        records, bad = done.records, list[BadElement]()
        before = len(records)
        for entry in entries:
            if type(entry) is not str:
                records.append(entry)
                continue
            for part in self._parse(entry):
                if isinstance(part, BadElement):
                    bad.append(part)
                else:
                    records.append(part)
        found = len(records) - before
        done.origins += [index] * found  # type: ignore[operator]  # a list
        if not found and not bad:
            done.rejects.append(BadFrame(index, payload, "empty"))
        elif not found and len(bad) == 1:
            done.rejects.append(BadFrame(index, payload, bad[0].reason, bad[0].detail))
        else:
            done.rejects += [BadFrame(index, it.payload, it.reason, it.detail, element=True) for it in bad]

    def _look_up(self, lines: list[str]) -> list[Any]:
        """For each line its record, or the line itself if `records_of` is needed."""
        ending_of = self._endings.get
        entries: list[Any] = []
        add = entries.append
        values: list[str] = []
        see = values.append
        for line in lines:
            head, _, ending = line.partition("|")
            name, _, value = head.partition(":")
            known = ending_of(ending)
            if known is None or not name or len(value) > _LONGEST_VALUE:
                add(line)
                see("")
                continue
            type_, options, new_tags = known
            try:
                record = {"name": name, "type": type_, "value": float(value)}
            except ValueError:
                add(line)
                see("")
                continue
            if options:
                record.update(options)
            if new_tags is not None:
                record["tags"] = new_tags()
            add(record)
            see(value)
        if not _UNSIGNED.fullmatch("".join(values)):
            for place, value in enumerate(values):
                if not _UNSIGNED.fullmatch(value):
                    negative = value[0] == "-" and entries[place]["type"] in _MAY_BE_NEGATIVE
                    if not (negative and _UNSIGNED.fullmatch(value, 1)):
                        entries[place] = lines[place]
        return entries

    def _parse(self, line: str) -> list[Record | BadElement]:
        """The records of a line, whose ending is remembered."""
        found = records_of(line)
        ending = line.partition("|")[2]
        if len(found) == 1 and isinstance(found[0], dict) and len(ending) <= _LONGEST_ENDING:
            options = found[0].copy()
            type_ = options.pop("type")
            if "value" in options and type_ != "service_check":
                del options["name"], options["value"]
                if len(self._endings) >= _MOST_ENDINGS:
                    self._endings.clear()
                new_tags = _new_tags(options.pop("tags", None))
                self._endings[ending] = ("gauge" if type_ == GAUGE_DELTA else type_, options, new_tags)
        return found

    def decode_one(self, payload: bytes, now: Now) -> list[Record | BadElement]:
        """The records of all lines of one frame. Costs about five times as much as in `decode`."""
        del now
        found: list[Record | BadElement] = []
        for line in line_of(payload.rstrip(_LINE_ENDS)).split("\n"):
            for part in records_of(line):
                if self.schema is not None and isinstance(part, dict):
                    try:
                        found.append(self.schema.check(part))
                    except BadData as bad:
                        found.append(BadElement(bytes_of(line), bad.reason, bad.detail))
                else:
                    found.append(part)
        if not found:
            raise BadData("empty")
        if len(found) == 1 and isinstance(found[0], BadElement):
            raise BadData(found[0].reason, found[0].detail)
        return found


def _new_tags(tags: dict[str, Any] | None) -> Callable[[], dict[str, Any]] | None:
    """Makes copies of tags, which a step may change; None without tags."""
    if tags is None:
        return None
    if list in map(type, tags.values()):
        return partial(copied_tags, copied_tags(tags))
    return tags.copy().copy


def _size_bytes(records: list[Record], frames: Frames) -> int:
    """Memory of the records. Tags are counted in one of 32."""
    some = records[::32]
    tags = sum([len(record["tags"]) for record in some if "tags" in record])
    tag_bytes = _TAG_BYTES * tags * len(records) // max(len(some), 1)
    return 2 * frames.size_bytes + _RECORD_BYTES * len(records) + tag_bytes


def _of_schema(records: list[Record], schema: Schema) -> tuple[list[Any] | None, bool]:
    """The records as structs of the schema, and True; dicts if some have other fields; None if one is bad."""
    for struct in (schema.struct, schema.loose_struct):
        try:
            structs: list[Any] = msgspec.convert(records, list[struct])  # type: ignore[valid-type]
        except msgspec.ValidationError:
            continue
        if schema.finish(structs):
            return None, False
        if struct is schema.struct:
            return structs, True
        for record, one in zip(records, structs, strict=True):
            record.update(schema.to_dict(one))
        return records, False
    return None, False
