"""Remembers what follows the first `|` of lines of StatsD, so that most lines cost only a look-up."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from streamd.core.batch import Record
from streamd.core.contracts import BadElement
from streamd.core.schema import Schema
from streamd.core.statsd_line import GAUGE_DELTA, copied_tags, records_of

_UNSIGNED = re.compile(r"[0-9.]*+")
"""Of the texts that Python reads as a float, those with only these characters are a decimal number."""
_MAY_BE_NEGATIVE = frozenset(("counter", "meter", "histogram", "distribution"))
_LONGEST_VALUE = 64
_LONGEST_ENDING, _MOST_ENDINGS = 256, 4096

Tags = Callable[[], dict[str, Any]] | None
"""Makes the tags of a record; None without tags."""
K = TypeVar("K")


class Endings(ABC, Generic[K]):
    """Makes the record of a line `name:number|ending` whose ending was seen before."""

    def __init__(self) -> None:
        self._known: dict[str, K] = {}

    @abstractmethod
    def look_up(self, lines: Sequence[str]) -> list[Any] | None:
        """For each line its record, or the line itself if `parse` is needed."""

    @abstractmethod
    def _ending(self, type_: str, tags: Tags, options: Record) -> K:
        """What is remembered of an ending; `options` are the other fields of its records."""

    def parse(self, line: str) -> list[Record | BadElement]:
        """The records of any line, as dicts. Its ending is remembered."""
        found = records_of(line)
        ending = line.partition("|")[2]
        if len(found) == 1 and isinstance(found[0], dict) and len(ending) <= _LONGEST_ENDING:
            options = found[0].copy()
            type_ = options.pop("type")
            if "value" in options and type_ != "service_check":
                del options["name"], options["value"]
                if len(self._known) >= _MOST_ENDINGS:
                    self._known.clear()
                tags = _new_tags(options.pop("tags", None))
                self._known[ending] = self._ending("gauge" if type_ == GAUGE_DELTA else type_, tags, options)
        return found


class DictEndings(Endings[tuple[str, Tags, Record]]):
    """Makes dicts."""

    def look_up(self, lines: Sequence[str]) -> list[Any]:
        """As in `Endings`."""
        ending_of = self._known.get
        entries: list[Any] = []
        values: list[str] = []
        add, see = entries.append, values.append
        for line in lines:
            head, _, ending = line.partition("|")
            name, _, value = head.partition(":")
            known = ending_of(ending)
            if known is None or not name or len(value) > _LONGEST_VALUE:
                add(line)
                see("")
                continue
            type_, new_tags, options = known
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
        for place in _doubtful(values):
            if not (entries[place]["type"] in _MAY_BE_NEGATIVE and _is_negative(values[place])):
                entries[place] = lines[place]
        return entries

    def _ending(self, type_: str, tags: Tags, options: Record) -> tuple[str, Tags, Record]:
        return type_, tags, options


_Struct = tuple[str, Tags, float | None, str | None, str | None]
"""Type, tags, sample rate, timestamp and container."""


class StructEndings(Endings[_Struct | None]):
    """Makes structs of the schema that the codec brings."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self._struct: Any = schema.struct

    def look_up(self, lines: Sequence[str]) -> list[Any] | None:
        """As in `Endings`; None if a line has a field that the schema has not."""
        ending_of, struct = self._known.get, self._struct
        entries: list[Any] = []
        values: list[str] = []
        add, see = entries.append, values.append
        for line in lines:
            head, _, ending = line.partition("|")
            name, _, value = head.partition(":")
            known = ending_of(ending, ())
            if not known or not name or len(value) > _LONGEST_VALUE:
                if known is None:
                    return None
                add(line)
                see("")
                continue
            type_, new_tags, rate, timestamp, container = known
            try:
                number = float(value)
            except ValueError:
                add(line)
                see("")
                continue
            tags = None if new_tags is None else new_tags()
            add(struct(name, type_, number, None, rate, tags, timestamp, container))
            see(value)
        for place in _doubtful(values):
            if not (entries[place].type in _MAY_BE_NEGATIVE and _is_negative(values[place])):
                entries[place] = lines[place]
        return entries

    def _ending(self, type_: str, tags: Tags, options: Record) -> _Struct | None:
        rate, timestamp, container = (
            options.pop(name, None) for name in ("sample_rate", "timestamp", "container")
        )
        return None if options else (type_, tags, rate, timestamp, container)


def _doubtful(values: Sequence[str]) -> list[int]:
    """The indexes of values with other characters than digits and a point."""
    if _UNSIGNED.fullmatch("".join(values)):
        return []
    return [place for place, value in enumerate(values) if not _UNSIGNED.fullmatch(value)]


def _is_negative(value: str) -> bool:
    """Whether a text that Python reads as a float is a minus and a decimal number."""
    return value[0] == "-" and _UNSIGNED.fullmatch(value, 1) is not None


def _new_tags(tags: dict[str, Any] | None) -> Tags:
    """Makes copies of tags, which a step may change; None without tags."""
    if tags is None:
        return None
    if list in map(type, tags.values()):
        return partial(copied_tags, copied_tags(tags))
    return tags.copy().copy
