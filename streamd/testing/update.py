"""Writes the outcome of tests into their files as the expected one. Comments and formats are kept."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.container import Container
from tomlkit.items import AoT, InlineTable, Item, Table, Whitespace

from streamd.config.cases import ExpectedSink
from streamd.core.errors import ConfigError
from streamd.testing.files import KEY
from streamd.testing.outcome import CaseOutcome, SinkOutcome
from streamd.testing.run import Result

_LINE_CHARACTERS = 100
_BOM = "\ufeff"


def update(results: Iterable[Result]) -> list[Path]:
    """Rewrite the expectations of the tests that failed with differences; returns the changed files.

    Only the parts that differ are written. Raises `ConfigError` and OSError.
    """
    by_file: dict[Path, list[Result]] = defaultdict(list)
    for result in results:
        if result.outcome is not None and (result.differences or not result.located.expect.model_fields_set):
            by_file[result.located.file].append(result)
    for file, failed in by_file.items():
        written = file.read_bytes().decode()
        document = tomlkit.parse(written.removeprefix(_BOM))
        tests = document[KEY]
        if not isinstance(tests, AoT):
            raise ConfigError(f"{file}: --update can only change tests that are written as [[{KEY}]]")
        for result in failed:
            assert result.outcome is not None  # noqa: S101 - chosen above
            test = tests[result.located.index]
            behind = _without_end(test)
            _write(test, result, result.outcome)
            _end(test).body.extend((None, item) for item in behind)
        text = tomlkit.dumps(document)
        line_end = "\r\n" if "\r\n" in written else "\n"
        if line_end == "\r\n":
            text = text.replace("\r\n", "\n").replace("\n", line_end)
        text += "" if text.endswith("\n") else line_end
        _replace(file.resolve(), written[: written.startswith(_BOM)] + text)
    return list(by_file)


def _end(test: Table) -> Container:
    """The part of the document to which new lines at the end of the test are added."""
    container = test.value
    while keyed := [item for key, item in container.body if key is not None]:
        last = keyed[-1].body[-1] if isinstance(keyed[-1], AoT) else keyed[-1]
        if not isinstance(last, Table):
            break
        container = last.value
    return container


def _without_end(test: Table) -> list[Item]:
    """Take the comments behind the first empty line after the test: they are about the next test."""
    body = _end(test).body
    first = len(body)
    while first and body[first - 1][0] is None:
        first -= 1
    while first < len(body) and not isinstance(body[first][1], Whitespace):
        first += 1
    taken = [item for _, item in body[first:]]
    del body[first:]
    return taken


def _replace(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(text.encode())
    new.chmod(file.stat().st_mode & 0o777)
    os.replace(new, file)  # noqa: PTH105 - the same as Path.replace


def _write(test: Any, result: Result, outcome: CaseOutcome) -> None:
    was = result.located.expect
    different = [one.where for one in result.differences]
    expect = _below(test, "expect", is_super_table=all(where.startswith("sink ") for where in different))
    for name, sink in outcome.sinks.items():
        is_first = not was.model_fields_set and not any(sink.count for sink in outcome.sinks.values())
        if is_first or any(f"{where},".startswith(f"sink {name},") for where in different):
            _write_sink(expect, name, sink, was.sinks.get(name))
    if any(where.startswith("dead letter") for where in different):
        _set(expect, "rejected", [_reject(letter) for letter in outcome.rejected])
    for key, numbers, given in (
        ("filtered", outcome.filtered, was.filtered),
        ("dropped", outcome.dropped, was.dropped),
    ):
        if key in different:
            _set(expect, key, numbers.total() if isinstance(given, int) else dict(+numbers))
    for path in was.counters:
        if f"counter {path}" in different:
            expect["counters"][path] = outcome.counters.get(path, 0)


def _reject(letter: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that say where and why; source and detail often change with the data."""
    return {key: letter[key] for key in ("reason", "stage", "pipeline", "sink", "payload") if key in letter}


def _write_sink(expect: Any, name: str, sink: SinkOutcome, was: ExpectedSink | None) -> None:
    table = _below(_below(expect, "sinks", is_super_table=True), name)
    if was is not None and was.count is not None:
        table["count"] = sink.count
        if was.rows is None and was.lines is None:
            return
    as_rows = sink.rows is not None and (was is None or was.lines is None or sink.lines is None)
    key, other = ("rows", "lines") if as_rows else ("lines", "rows")
    _set(table, key, _rows(sink, was) if as_rows else list(sink.lines or ()))
    table.pop(other, None)
    if not table[key]:
        table.pop("contains", None)


def _below(table: Any, key: str, *, is_super_table: bool = False) -> Any:
    """The table at a key, which is made if it is missing."""
    if key not in table:
        is_inline = isinstance(table, InlineTable)
        table[key] = tomlkit.inline_table() if is_inline else tomlkit.table(is_super_table)
    return table[key]


def _rows(sink: SinkOutcome, was: ExpectedSink | None) -> list[dict[str, Any]]:
    """The rows, with metadata only if it was expected."""
    hidden = set(sink.optional)
    if was is not None:
        hidden -= {key for row in was.rows or () for key in row}
        hidden |= set(was.ignore)
    rows = sink.rows or ()
    return [{k: v for k, v in row.items() if v is not None and k not in hidden} for row in rows]


def _set(table: Any, key: str, value: Any) -> None:
    item = _item(value)
    if isinstance(table.get(key), AoT) and isinstance(value, list):  # [[tests.expect.rejected]]
        del table[key]
    table[key] = item


def _item(value: Any, *, is_nested: bool = False) -> Item:
    """The value as TOML. A long list has a line for each element, unless it is inside of another value.

    A list with null, which TOML does not have, is a text of JSON.
    """
    if isinstance(value, list) and any(one is None for one in value):
        return tomlkit.string(json.dumps(value, ensure_ascii=False))
    if isinstance(value, list):
        array = tomlkit.array()
        array.extend([_item(one, is_nested=True) for one in value])
        is_long = any(isinstance(one, dict) for one in value) or len(str(value)) > _LINE_CHARACTERS
        array.multiline(is_long and not is_nested)
        return array
    if isinstance(value, Counter | dict):
        table = tomlkit.inline_table()
        for key, inner in value.items():
            if inner is not None:
                table[key] = _item(inner, is_nested=True)
        return table
    item: Item = tomlkit.item(value)
    return item
