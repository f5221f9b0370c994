"""Compares the outcome of a test with the expected one, field by field."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from streamd.config.cases import ExpectedSink
from streamd.config.problems import quoted
from streamd.testing.files import LocatedCase
from streamd.testing.outcome import CaseOutcome, SinkOutcome

Row = Mapping[str, Any]

_PRECISION = 1e-9
"""Relative difference up to which two floats are equal, because sums depend on their order."""
_MOST_ALIGNED = 25_000_000
"""Most pairs of rows for which two lists are aligned."""
_MOST_COMPARED = 250_000
"""Most pairs of dead letters that are compared to align two lists."""
MISSING = object()
"""The value of a field that a record does not have, or that is NULL."""


class FieldDifference(NamedTuple):
    """One field of a row, as text: expected and got."""

    name: str
    expected: str
    got: str


@dataclass(slots=True)
class Difference:
    """One difference, with the line of the expectation in the file."""

    where: str
    """Like `sink readings, row 2`."""
    text: str
    line: int
    fields: list[FieldDifference] = field(default_factory=list)


def compare(located: LocatedCase, outcome: CaseOutcome) -> list[Difference]:
    """All differences. Empty if the outcome is exactly the expected one."""
    return [*_sinks(located, outcome), *_rejected(located, outcome), *_numbers(located, outcome)]


def shown_value(value: Any) -> str:
    """A value as it is written in a test, and its type where that could be mistaken."""
    if value is MISSING or value is None:
        return "nothing"
    return json.dumps(value, ensure_ascii=False, default=str)


def _sinks(located: LocatedCase, outcome: CaseOutcome) -> Iterator[Difference]:
    expected = located.expect.sinks
    for name, got in outcome.sinks.items():
        wanted = expected.get(name)
        where = f"sink {name}"
        if wanted is None:
            if got.count:
                text = f"holds {_many(got.count, 'record')}, and the test expects none: {_first(got)}"
                yield Difference(where, text, located.line("expect"))
            continue
        line = located.line("expect", "sinks", name)
        if wanted.count is not None and wanted.count != got.count:
            yield Difference(
                where, "holds another number of records", line, [_pair("count", wanted.count, got.count)]
            )
        if wanted.rows is not None and got.rows is None:
            text = f"holds lines that are no JSON objects, so expect lines: {_first(got)}"
            yield Difference(where, text, line)
        elif wanted.rows is not None and got.rows is not None:
            yield from _Listed(located, name, wanted, got).rows(wanted.rows, got.rows)
        elif wanted.lines is not None and got.lines is None:
            yield Difference(where, "is a table, so expect rows instead of lines", line)
        elif wanted.lines is not None and got.lines is not None:
            yield from _Listed(located, name, wanted, got).lines(wanted.lines, got.lines)


class _Listed:
    """The comparison of the rows or lines of one sink."""

    def __init__(self, located: LocatedCase, name: str, wanted: ExpectedSink, got: SinkOutcome) -> None:
        self._located = located
        self._name = name
        self._contains = wanted.contains
        self._ignored = frozenset(wanted.ignore)
        self._optional = frozenset(got.optional)
        self._is_table = got.lines is None

    def rows(self, expected: list[dict[str, Any]], got: list[dict[str, Any]]) -> Iterator[Difference]:
        named = {name for row in expected for name in row}
        hidden = self._ignored | (self._optional - named)
        wanted = [self._stripped(row, self._ignored) for row in expected]
        found = [self._stripped(row, hidden) for row in got]
        yield from self._listed("row", wanted, found)

    def lines(self, expected: list[str], got: list[str]) -> Iterator[Difference]:
        wanted, found = ([{"line": line} for line in lines] for lines in (expected, got))
        yield from self._listed("line", wanted, found)

    def _stripped(self, row: Row, hidden: frozenset[str]) -> dict[str, Any]:
        return {key: value for key, value in row.items() if value is not None and key not in hidden}

    def _listed(
        self, kind: str, wanted: list[dict[str, Any]], found: list[dict[str, Any]]
    ) -> Iterator[Difference]:
        if self._contains:
            yield from self._contained(kind, wanted, found)
            return
        if len(wanted) == len(found) and all(map(self._same, wanted, found)):
            return
        keys = list(map(self._key, wanted)), list(map(self._key, found))
        if keys[0] != keys[1] and Counter(keys[0]) == Counter(keys[1]):
            yield from self._reordered(kind, *keys)
            return
        for _, first, end, first_got, end_got in _opcodes(*keys):
            pairs = min(end - first, end_got - first_got)
            for n in range(pairs):
                index, other = first + n, first_got + n
                if fields := self._fields(wanted[index], found[other]):
                    at = f"{kind} {index + 1}" + (f" (got as {kind} {other + 1})" if index != other else "")
                    yield self._difference(at, "differs", kind, index, fields)
            for index in range(first + pairs, end):
                text = f"is missing: {_shown_row(wanted[index])}"
                yield self._difference(f"{kind} {index + 1}", text, kind, index)
            for other in range(first_got + pairs, end_got):
                text = f"is too many: {_shown_row(found[other])}"
                yield self._difference(f"{kind} {other + 1} of those it holds", text, kind, None)

    def _reordered(self, kind: str, wanted: list[str], found: list[str]) -> Iterator[Difference]:
        """The first place at which lists with the same rows differ."""
        index = next(n for n, (one, other) in enumerate(zip(wanted, found, strict=True)) if one != other)
        other = found.index(wanted[index]) + 1
        text = f"is {kind} {other} of those it holds: only the order differs"
        yield self._difference(f"{kind} {index + 1}", text, kind, index)

    def _contained(
        self, kind: str, wanted: list[dict[str, Any]], found: list[dict[str, Any]]
    ) -> Iterator[Difference]:
        at = 0
        for index, row in enumerate(wanted):
            place = next((n for n in range(at, len(found)) if self._same(row, found[n])), None)
            if place is not None:
                at = place + 1
                continue
            where = f"{kind} {index + 1}"
            if any(self._same(row, other) for other in found[:at]):
                yield self._difference(where, f"is there, but before {kind} {index}", kind, index)
                continue
            closest = min(found, key=lambda other: len(self._fields(row, other)), default=None)
            if closest is None:
                yield self._difference(where, "is missing: the sink holds nothing", kind, index)
            else:
                fields = self._fields(row, closest)
                yield self._difference(where, "is missing; the closest one differs", kind, index, fields)

    def _difference(
        self, at: str, text: str, kind: str, index: int | None, fields: Sequence[FieldDifference] = ()
    ) -> Difference:
        place: tuple[str | int, ...] = ("expect", "sinks", self._name)
        if index is not None:
            place += ("rows" if kind == "row" else "lines", index)
        return Difference(f"sink {self._name}, {at}", text, self._located.line(*place), list(fields))

    def _fields(self, wanted: Row, found: Row) -> list[FieldDifference]:
        names = [*wanted, *(name for name in found if name not in wanted)]
        return [
            _pair(name, wanted.get(name, MISSING), found.get(name, MISSING))
            for name in names
            if not same(wanted.get(name, MISSING), found.get(name, MISSING), in_table=self._is_table)
        ]

    def _same(self, wanted: Row, found: Row) -> bool:
        return wanted.keys() == found.keys() and not self._fields(wanted, found)

    def _key(self, row: Row) -> str:
        """A text that is equal for rows that are the same, and for few others, to align lists."""
        return json.dumps(
            {name: _coarse(value, in_table=self._is_table) for name, value in row.items()}, sort_keys=True
        )


def _opcodes(wanted: list[str], found: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    """How the lists differ, as from `SequenceMatcher`; long lists are paired from the first difference on."""
    if len(wanted) * len(found) <= _MOST_ALIGNED:
        return SequenceMatcher(None, wanted, found, autojunk=False).get_opcodes()
    pairs = zip(wanted, found, strict=False)
    first = next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(wanted), len(found)))
    return [("replace", first, len(wanted), first, len(found))]


def same(wanted: Any, got: Any, *, in_table: bool) -> bool:
    """Whether two values are equal with their types. In a table, true is 1, and a JSON text its value."""
    if in_table:
        wanted, got = _as_stored(wanted, got)
    elif isinstance(wanted, str) and isinstance(got, dict | list):  # TOML has no null, which JSON can write
        wanted = _from_json(wanted)
    if type(wanted) is not type(got):
        return False
    if isinstance(wanted, float):
        return math.isclose(wanted, got, rel_tol=_PRECISION) or (math.isnan(wanted) and math.isnan(got))
    if isinstance(wanted, dict):
        names = dict.fromkeys([*wanted, *got])  # a field that is null is as one that is missing
        return all(same(wanted.get(name), got.get(name), in_table=False) for name in names)
    if isinstance(wanted, list):
        return len(wanted) == len(got) and all(
            same(one, other, in_table=False) for one, other in zip(wanted, got, strict=True)
        )
    return bool(wanted == got)


def _as_stored(wanted: Any, got: Any) -> tuple[Any, Any]:
    """The values in a form in which they can be compared, although SQLite has fewer types."""
    if isinstance(wanted, bool) and type(got) is int:
        return int(wanted), got
    if isinstance(wanted, dict | list) and isinstance(got, str):
        return wanted, _from_json(got)
    return wanted, got


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _coarse(value: Any, *, in_table: bool) -> Any:
    if isinstance(value, bool):
        return int(value) if in_table else f"{value}"
    if isinstance(value, float):
        return f"float {value:.9g}"
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return value


def _pair(name: str, wanted: Any, got: Any) -> FieldDifference:
    texts = shown_value(wanted), shown_value(got)
    if texts[0] == texts[1]:  # 1 and true in other spellings, or equal texts of different types
        return FieldDifference(
            name, *(f"{text} ({type(v).__name__})" for text, v in zip(texts, (wanted, got), strict=True))
        )
    return FieldDifference(name, *texts)


def _rejected(located: LocatedCase, outcome: CaseOutcome) -> Iterator[Difference]:
    wanted = [reject.model_dump(exclude_unset=True) for reject in located.expect.rejected]
    found = outcome.rejected
    for first, end, first_got, end_got in _unequal(wanted, found):
        pairs = min(end - first, end_got - first_got)
        for index in range(first, end):
            line = located.line("expect", "rejected", index)
            if index >= first + pairs:
                yield Difference(f"dead letter {index + 1}", f"is missing: {_shown_row(wanted[index])}", line)
                continue
            got = found[first_got + index - first]
            fields = [
                _pair(name, value, got.get(name, MISSING))
                for name, value in wanted[index].items()
                if not _same_reject(name, value, got.get(name, ""))
            ]
            yield Difference(f"dead letter {index + 1}", f"differs: {_shown_row(got)}", line, fields)
        for other in range(first_got + pairs, end_got):
            text = f"is not expected: {_shown_row(found[other])}"
            yield Difference(
                f"dead letter {other + 1} of those kept", text, located.line("expect", "rejected")
            )


def _unequal(
    wanted: list[dict[str, Any]], found: list[dict[str, Any]]
) -> Iterator[tuple[int, int, int, int]]:
    """The ranges of both lists between the longest common subsequence of dead letters."""
    if len(wanted) * len(found) > _MOST_COMPARED:
        same_start = 0
        while same_start < min(len(wanted), len(found)) and _is(wanted[same_start], found[same_start]):
            same_start += 1
        yield same_start, len(wanted), same_start, len(found)
        return
    lengths = [[0] * (len(found) + 1) for _ in range(len(wanted) + 1)]
    for i in reversed(range(len(wanted))):
        for j in reversed(range(len(found))):
            lengths[i][j] = (
                lengths[i + 1][j + 1] + 1
                if _is(wanted[i], found[j])
                else max(lengths[i + 1][j], lengths[i][j + 1])
            )
    i = j = first = first_got = 0
    while i < len(wanted) and j < len(found):
        if _is(wanted[i], found[j]) and lengths[i][j] == lengths[i + 1][j + 1] + 1:
            if (first, first_got) != (i, j):
                yield first, i, first_got, j
            i, j = i + 1, j + 1
            first, first_got = i, j
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    if (first, first_got) != (len(wanted), len(found)):
        yield first, len(wanted), first_got, len(found)


def _is(wanted: dict[str, Any], got: dict[str, Any]) -> bool:
    return all(_same_reject(name, value, got.get(name, "")) for name, value in wanted.items())


def _same_reject(name: str, wanted: Any, got: str) -> bool:
    if name == "detail":
        return wanted in got
    return same(wanted, got, in_table=True)


def _numbers(located: LocatedCase, outcome: CaseOutcome) -> Iterator[Difference]:
    expect = located.expect
    for key, wanted, got in (
        ("filtered", expect.filtered, outcome.filtered),
        ("dropped", expect.dropped, outcome.dropped),
    ):
        line = located.line("expect", key)
        numbers = +got
        if isinstance(wanted, int):
            if wanted != numbers.total():
                yield Difference(key, "is another number", line, [_pair("in all", wanted, numbers.total())])
            continue
        fields = [
            _pair(name, (wanted or {}).get(name, 0), numbers[name])
            for name in dict.fromkeys([*(wanted or ()), *numbers])
            if (wanted or {}).get(name, 0) != numbers[name]
        ]
        if fields:
            yield Difference(key, "is another number", line, fields)
    for path, wanted_n in expect.counters.items():
        if (n := outcome.counters.get(path, 0)) != wanted_n:
            line = located.line("expect", "counters", path)
            yield Difference(f"counter {path}", "is another number", line, [_pair("value", wanted_n, n)])
    for text in outcome.faults:
        yield Difference("the books", f"do not balance: {text}", located.line())


def _many(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def _first(got: SinkOutcome) -> str:
    first = (got.rows or ({},))[0] if got.rows else (got.lines or [""])[0]
    more = f" and {got.count - 1:,} more" if got.count > 1 else ""
    return f"{_shown_row(first) if isinstance(first, dict) else quoted(first)}{more}"


def _shown_row(row: Row) -> str:
    if row.keys() == {"line"}:
        return shown_value(row["line"])
    return ", ".join(f"{name} = {shown_value(value)}" for name, value in row.items() if value is not None)
