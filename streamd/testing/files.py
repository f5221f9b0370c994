"""Finds and checks the tests of a configuration."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.config import Config, Loaded, Problem, load
from streamd.config.cases import Case, Expectation, Input
from streamd.config.positions import Positions
from streamd.config.problems import Place, did_you_mean, dotted, quoted, unknown_key
from streamd.config.validation import validated
from streamd.config.written import TESTS, parse, read, shown
from streamd.core.contracts import Framer
from streamd.core.errors import BadData, ConfigError
from streamd.core.framer_counts import CUTTING
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.printable import printable
from streamd.core.settings import SourceSettings
from streamd.core.timestamp import canonical
from streamd.lookup_tables.table import is_endless

KEY = TESTS
MOST_LISTED = 8
"""The most known names that an error lists."""


@dataclass(slots=True)
class LocatedCase:
    """A test, and its place in its file."""

    case: Case
    file: Path
    index: int
    """In the list of the file's tests."""
    _positions: Positions

    @property
    def expect(self) -> Expectation:
        """The expected outcome. It is empty only if the outcome is to be written."""
        return self.case.expect or Expectation()

    def line(self, *place: str | int) -> int:
        """The line of a key of the test in its file."""
        return self._positions.line((KEY, self.index, *place))

    def error(self, text: str, *place: str | int) -> ConfigError:
        """An error at a key of the test."""
        where = dotted((KEY, self.index, *place))
        return ConfigError(f"{shown(self.file)}:{self.line(*place)}: {where}: {printable(text)}")


def find(loaded: Loaded, *, without_expectation: bool = False) -> list[LocatedCase]:
    """The tests in the configuration's files and in the files beside it, in this order.

    With `without_expectation`, a test may expect nothing yet. Raises `ConfigError` with all problems.
    """
    found: list[LocatedCase] = []
    lines: list[str] = []
    written = [(file, loaded.written.files[file], tests) for file, tests in loaded.written.tests.items()]
    for file in beside(loaded.path):
        try:
            text = read(file)
            document = parse(file, text)
        except ConfigError as fault:
            lines.append(str(fault))
            continue
        positions = Positions(text)
        lines += [
            f"{shown(file)}:{positions.line((key,))}: {dotted((key,))}: {unknown_key(key, [KEY])}"
            for key in document
            if key != KEY
        ]
        written.append((file, text, document.get(KEY, [])))
    names: dict[str, str] = {}
    for file, text, tests in written:
        positions = Positions(text)
        problems: list[Problem] = []
        for case in _cases(file, positions, tests, problems):
            at = f"{shown(file)}:{case.line()}"
            if (first := names.setdefault(case.case.name, at)) != at:
                why = f"{quoted(case.case.name)} is also the name of the test at {first}"
                problems.append(Problem((KEY, case.index, "name"), why))
            _check(case, loaded, problems, without_expectation=without_expectation)
            found.append(case)
        placed = sorted(
            ((positions.line(place), place, text) for place, text in problems), key=lambda one: one[0]
        )
        lines += [f"{shown(file)}:{line}: {dotted(place)}: {printable(text)}" for line, place, text in placed]
    if lines:
        raise ConfigError("\n".join(lines))
    return found


def beside(path: Path) -> list[Path]:
    """The files of tests beside a configuration: beside `lab.toml`, `lab.test.toml` and `lab.*.test.toml`."""
    first = path.with_name(f"{path.stem}.test.toml")
    try:
        names = sorted(file.name for file in path.parent.iterdir())
    except OSError:  # the configuration itself was read, so this is seldom
        names = []
    more = [name for name in names if name.startswith(f"{path.stem}.") and name.endswith(".test.toml")]
    return [path.with_name(name) for name in sorted(more, key=lambda name: (name != first.name, name))]


def _cases(file: Path, positions: Positions, tests: Any, problems: list[Problem]) -> Iterator[LocatedCase]:
    if not isinstance(tests, list):
        problems.append(Problem((KEY,), f"should be a list of tables: write [[{KEY}]] before each test"))
        return
    for index, table in enumerate(tests):
        plain = _plain(table)
        if (case := validated(Case, plain, (KEY, index), problems)) is not None:
            yield LocatedCase(case, file, index, positions)


def _plain(value: Any) -> Any:
    """The value with each TOML time as the text that streamd stores."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        text = value.isoformat()
        return canonical(text) if value.tzinfo is not None else text
    return value.isoformat() if isinstance(value, date | time) else value


def _unknown(word: str, known: Iterable[str], kind: str) -> str:
    known = list(known)
    if word in known:
        return ""
    few = f"; there are {', '.join(known)}" if 0 < len(known) <= MOST_LISTED else ""
    hint = did_you_mean(word, known) or few or ("" if known else "; there are none")
    return f"there is no {kind} {quoted(word)}{hint}"


def _check(case: LocatedCase, loaded: Loaded, problems: list[Problem], *, without_expectation: bool) -> None:
    place: Place = (KEY, case.index)
    at = case.case.start
    for number, one in enumerate(case.case.inputs):
        here: Place = (*place, "inputs", number)
        if one.at is not None and one.at < at:
            problems.append(Problem((*here, "at"), f"is before {at}, the time of the test at this input"))
        at = max(at, one.at or at)
        _check_input(one, case, loaded, here, problems)
    configured = [loaded.config, *_reloaded(case, place, problems)]
    expect = case.case.expect
    if expect is not None and expect.model_fields_set:
        _check_expectation(expect, loaded, configured, (*place, "expect"), problems)
    elif not without_expectation:
        text = "expects nothing, so it would always pass; `streamd test --update` writes the outcome"
        problems.append(Problem((*place, "expect"), text))


def _check_input(
    one: Input, case: LocatedCase, loaded: Loaded, place: Place, problems: list[Problem]
) -> None:
    sources = loaded.config.sources
    if one.source is not None and (text := _unknown(one.source, sources, "source")):
        problems.append(Problem((*place, "source"), text))
        return
    settings = sources.get(one.source or "")
    if settings is not None and settings.type == "file":
        for key, given in (("peer", one.peer is not None), ("close", one.close)):
            if given:
                problems.append(Problem((*place, key), "a followed file has no sender and no end"))
    if settings is not None and one.close and not settings.streams:
        problems.append(Problem((*place, "close"), f"source {one.source} has no connections"))
    try:
        content(one, case.file)
    except ValueError as error:
        problems.append(Problem((*place, _key_of(one)), str(error)))
    except OSError as error:
        problems.append(Problem((*place, "file"), f"cannot be read: {error.strerror or error}"))
    problems += _record_problems(one, settings, loaded, place)


def _record_problems(
    one: Input, settings: SourceSettings | None, loaded: Loaded, place: Place
) -> Iterator[Problem]:
    schema = loaded.schemas.get((settings and settings.schema_name) or "")
    for number, record in enumerate(one.records or ()):
        here: Place = (*place, "records", number)
        if reserved := RESERVED_KEYS.intersection(record):
            yield Problem((*here, min(reserved)), "only the daemon sets this field")
        if schema is not None:
            try:
                schema.check(record)
            except BadData as bad:
                text = f"{bad}: the codec would reject it, so it cannot enter behind the codec"
                yield Problem(here, text)


def _key_of(one: Input) -> str:
    return "hex" if one.hex is not None else "base64"


def content(one: Input, file: Path) -> bytes:
    """The bytes of an input without records. Raises ValueError and OSError."""
    if one.hex is not None:
        try:
            return bytes.fromhex(one.hex)
        except ValueError:
            raise ValueError(f"should be pairs of hexadecimal digits, and is {quoted(one.hex)}") from None
    if one.base64 is not None:
        try:
            return base64.b64decode("".join(one.base64.split()), validate=True)
        except binascii.Error as error:
            raise ValueError(f"is no base64: {error}") from None
    if one.file is not None:
        path = file.absolute().parent / one.file
        if is_endless(path):
            raise OSError(f"{path} is a device, a pipe or a socket")
        return path.read_bytes()
    return (one.text or "").encode()


def _reloaded(case: LocatedCase, place: Place, problems: list[Problem]) -> Iterator[Config]:
    """The configurations that the test reloads."""
    for number, one in enumerate(case.case.inputs):
        if one.reload is not None:
            try:
                yield load(case.file.absolute().parent / one.reload).config
            except ConfigError as error:
                problems.append(Problem((*place, "inputs", number, "reload"), str(error)))


def _check_expectation(
    expect: Expectation,
    loaded: Loaded,
    configured: list[Config],
    place: Place,
    problems: list[Problem],
) -> None:
    """Check that each name exists in one of the configurations."""
    sources, pipelines, sinks = (
        dict.fromkeys(name for config in configured for name in getattr(config, kind))
        for kind in ("sources", "pipelines", "sinks")
    )
    words: list[tuple[Place, str | None, Iterable[str], str]] = [
        (("sinks", name), name, sinks, "sink") for name in expect.sinks
    ]
    for number, reject in enumerate(expect.rejected):
        words += [
            (("rejected", number, "source"), reject.source, sources, "source"),
            (("rejected", number, "pipeline"), reject.pipeline, pipelines, "pipeline"),
            (("rejected", number, "sink"), reject.sink, sinks, "sink"),
        ]
    if isinstance(expect.filtered, dict):
        words += [(("filtered", name), name, pipelines, "pipeline") for name in expect.filtered]
    if expect.counters:
        counters = list(counters_of(loaded))
        words += [(("counters", path), path, counters, "counter") for path in expect.counters]
    problems += [
        Problem((*place, *where), text)
        for where, word, known, kind in words
        if word is not None and (text := _unknown(word, known, kind))
    ]


def counters_of(loaded: Loaded) -> Iterator[str]:
    """The paths of all counters that the components of the configuration declare."""
    config = loaded.config
    for name, source in config.sources.items():
        parts = [registry.load("sources", source.type), registry.load("codecs", source.codec.type)]
        names = dict.fromkeys(name for part in parts for name in part.counters)
        if source.cut_by is not None:
            framing = registry.load("framing", source.cut_by.framing.type)
            names |= dict.fromkeys([*Framer.counters, *framing.counters, *CUTTING])
        yield from (f"sources.{name}.{counter}" for counter in names)
    for name, pipeline in config.pipelines.items():
        for index, step in enumerate(pipeline.steps):
            cls = registry.load("steps", step.type)
            yield from (f"pipelines.{name}.steps[{index}].{counter}" for counter in cls.counters)
    for name, sink in config.sinks.items():
        cls = registry.load("sinks", sink.type)
        yield from (f"sinks.{name}.{counter}" for counter in cls.counters)
