"""Reads the main file and the files of `conf.d` as one document, with the line of every key."""

import os
import re
import stat
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamd.config.positions import Positions
from streamd.config.problems import Place, Problem, dotted
from streamd.config.syntax import hint
from streamd.core.errors import ConfigError
from streamd.core.printable import printable
from streamd.core.regular_file import open_regular

LARGEST_BYTES = 16 << 20
"""The limit for one file and for all files together. A larger file is a device or data, no configuration."""
MOST_FILES = 10_000
"""The limit for the number of files in `conf.d`."""

FOLDER = "conf.d"

TESTS = "tests"
"""The key of the tests, which every file may have. They are no part of what the daemon does."""

_KEY = r"'([^']*)'"
_TUPLE = re.compile(rf"\({_KEY}(?:, {_KEY})*,?\)")
"""A tuple of keys in the errors of `tomllib`."""

_NAMED = frozenset({"schemas", "sources", "pipelines", "sinks"})
"""Tables of named tables. Every file may add to them."""


class WrittenConfig:
    """The text of the configuration. `document` holds the tables of all files.

    Each file of `conf.d` whose name ends in `.toml` adds tables, in the order of the names. Files whose names
    begin with a dot are ignored. Each named table, and each other table as a whole, must be in one file.
    Raises `ConfigError` with every file that cannot be read and every table that two files define.
    A hundred files take about 10 ms.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[Path, str] = {}
        """The text of each file, the main file first."""
        self.document: dict[str, Any] = {}
        self.tests: dict[Path, Any] = {}
        """The value of `tests` in each file that has it. Only `streamd test` checks it."""
        self._owners: dict[Place, Path] = {}
        self._positions: dict[Path, Positions] = {}
        faults: list[str] = []
        twice: list[str] = []
        length = 0
        for file in [path, *_more_files(path)]:
            try:
                text = read(file) if file == path else _read_regular(file)
                length += len(text)
                if length > LARGEST_BYTES:
                    faults.append(
                        f"{shown(file)}: larger than {LARGEST_BYTES >> 20} MiB with the files before it"
                    )
                    break
                document = parse(file, text)
            except ConfigError as fault:
                faults.append(str(fault))
            else:
                self.files[file] = text
                if TESTS in document:
                    self.tests[file] = document.pop(TESTS)
                twice += self._add(file, document)
        if faults or twice:
            raise ConfigError("\n".join(faults + twice))

    def error(self, problems: list[Problem]) -> ConfigError:
        """An error with one line for each problem, in the order of files and lines."""
        files = list(self.files)
        order = {file: number for number, file in enumerate(files)}
        located = sorted(
            (order[file := self._file(place)], self._line(file, place), index)
            for index, (place, _) in enumerate(problems)
        )
        lines = []
        for number, line, index in located:
            place, text = problems[index]
            lines.append(f"{shown(files[number])}:{line}: {dotted(place)}: {printable(text)}")
        return ConfigError("\n".join(lines))

    def _file(self, place: Place) -> Path:
        return self._owners.get(place[:2]) or self._owners.get(place[:1]) or self.path

    def _line(self, file: Path, place: Place) -> int:
        positions = self._positions.get(file)
        if positions is None:
            positions = self._positions[file] = Positions(self.files[file])
        return positions.line(place)

    def _add(self, file: Path, document: dict[str, Any]) -> list[str]:
        """Add the file's tables. The problem of a repeated table names the file and line of both."""
        twice: list[str] = []
        for place, value in _tables(document):
            other = self._holder(place)
            if other is not None:
                twice.append(
                    f"{shown(file)}:{self._line(file, place)}: {dotted(place)}: is also defined in"
                    f" {shown(other)}:{self._line(other, place)}; only one file may define it"
                )
                continue
            self._owners[place] = file
            within: dict[Any, Any] = self.document
            for table in place[:-1]:
                within = within.setdefault(table, {})
            within[place[-1]] = value
        return twice

    def _holder(self, place: Place) -> Path | None:
        """The file that defines the table, a part of it, or the table around it."""
        if len(place) == 1 and place[0] in self.document:
            return next(file for held, file in self._owners.items() if held[:1] == place)
        return self._owners.get(place) or self._owners.get(place[:1])


def read_table(path: Path, key: str) -> Any:
    """One plain table, without checks of the rest. Unreadable files of `conf.d` are skipped.

    Empty if no file has the table. Raises `ConfigError` if the main file is no TOML.
    """
    document = parse(path, read(path))
    if key in document:
        return document[key]
    for file in _more_files(path):
        try:
            document = parse(file, _read_regular(file))
        except ConfigError:
            continue
        if key in document:
            return document[key]
    return {}


def _tables(document: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """The tables that must each be in one file as a whole, such as `[daemon]` and `[sources.lab]`."""
    for key, value in document.items():
        if key in _NAMED and isinstance(value, dict):
            yield from (((key, name), table) for name, table in value.items())
        else:
            yield (key,), value


def shown(path: Path) -> str:
    """The path on one line. The name of a file may contain any character."""
    return printable(str(path), sys.maxsize)


def _more_files(path: Path) -> list[Path]:
    """The files of `conf.d`, in the order of their names. Raises `ConfigError`."""
    folder = path.parent / FOLDER
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".toml") and not entry.name.startswith("."):
                    names.append(entry.name)
                    if len(names) > MOST_FILES:
                        raise ConfigError(
                            f"{shown(folder)}: more than {MOST_FILES} files: this is no configuration"
                        )
    except FileNotFoundError:
        if folder.is_symlink():
            raise ConfigError(f"{shown(folder)}: the target of this link does not exist") from None
    except OSError as error:
        raise ConfigError(f"{shown(folder)}: cannot be read: {error.strerror}") from None
    return [folder / name for name in sorted(names)]


def _read_regular(path: Path) -> str:
    """The text of a regular file. A pipe, which would block, is refused. Raises `ConfigError`."""
    try:
        kind = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{shown(path)}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(kind):
        raise ConfigError(f"{shown(path)}: is {'a folder' if stat.S_ISDIR(kind) else 'no regular file'}")
    return read(path)


def read(path: Path) -> str:
    """The text of the file. Raises `ConfigError` if it cannot be read, is too large or is not UTF-8."""
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{shown(path)}: cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_BYTES:
        raise ConfigError(f"{shown(path)}: larger than {LARGEST_BYTES >> 20} MiB: this is no configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        wide = "; the file is UTF-16: save it as UTF-8" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise ConfigError(
            f"{shown(path)}:{line}: not UTF-8: byte 0x{content[error.start]:02x}{wide}"
        ) from None


def parse(path: Path, text: str) -> dict[str, Any]:
    """The document. Raises `ConfigError` with line and column for the first syntax error."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = _TUPLE.sub(lambda keys: f"[{'.'.join(re.findall(_KEY, keys[0]))}]", str(error))
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
        if found and found[2]:
            more = printable(hint(text, int(found[2]), message), sys.maxsize)
            raise ConfigError(f"{shown(path)}:{found[2]}:{found[3]}: {found[1]}{more}") from None
        last_line = text.count("\n") + 1
        more = printable(hint(text, last_line, message), sys.maxsize)
        raise ConfigError(
            f"{shown(path)}:{last_line}: {found[1] if found else message} at the end of the file{more}"
        ) from None
    except RecursionError:
        raise ConfigError(f"{shown(path)}: nested too deeply") from None
