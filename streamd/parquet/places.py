"""Names the files of a Parquet sink, one folder and name for each period of a dated path."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from streamd.core.errors import ConfigError

SUFFIX = ".parquet"
HOUR = 13
"""Length of `2026-01-31T08`, the part of a time that selects the file."""
_ORDER = "YmdH"
_WIDTHS = {"Y": 4, "m": 2, "d": 2, "H": 2}
_AT = {"Y": slice(0, 4), "m": slice(5, 7), "d": slice(8, 10), "H": slice(11, 13)}
"""The place of each field in the canonical text of a time."""
_PERCENT = re.compile(r"%(.?)")
_STAMP = "%Y%m%dT%H%M%S.%fZ"
_OWN_PART = r"-(?P<stamp>\d{8}T\d{6}\.\d{6}Z)-[0-9a-f]{8}"
_RANDOM_BYTES = 4


class Places:
    """The files of a path like `lake/day=%Y-%m-%d/readings.parquet`.

    Each file is named `readings-<time>-<random>.parquet`; the time (UTC) is the one at which it was made. So
    names sort by time, and no other process or start gives the same name. `base` is the folder above all
    dated ones. Raises `ConfigError` for a path without `.parquet`, or whose fields name no periods.
    """

    def __init__(self, pattern: Path, root: Path = Path("/")) -> None:
        """`root` is a folder whose own name may contain a percent sign, which is no field."""
        if pattern.suffix != SUFFIX or pattern.stem.startswith("."):
            raise ConfigError(
                f"{pattern.name!r} names no Parquet files: a name ends with .parquet and begins with no dot",
                ("path",),
            )
        parts = pattern.parts
        first = len(root.parts) if pattern.is_relative_to(root) else 0
        dated = next((place for place in range(first, len(parts) - 1) if "%" in parts[place]), len(parts) - 1)
        self.base = Path(*parts[:dated])
        self._relative = str(Path(*parts[dated:]).with_suffix(""))
        fields = _PERCENT.findall(self._relative)
        self.dated = bool(fields)
        used = sorted(set(fields), key=_ORDER.find)
        if used != list(_ORDER[: len(used)]):
            raise ConfigError(
                f"{pattern} names no periods: the fields are %Y, %m, %d and %H, none without the coarser"
                ' ones, like "day=%Y-%m-%d/readings.parquet"',
                ("path",),
            )
        self._own = re.compile(self._expression() + _OWN_PART + re.escape(SUFFIX), re.ASCII)
        self._path_of = lru_cache(64)(self._path_of_hour)

    def _expression(self) -> str:
        seen: set[str] = set()
        found = ""
        for place, part in enumerate(_PERCENT.split(self._relative)):
            if not place % 2:
                found += re.escape(part)
            elif part in seen:
                found += f"(?P={part})"
            else:
                seen.add(part)
                found += rf"(?P<{part}>\d{{{_WIDTHS[part]}}})"
        return found

    def stem_of(self, time: str) -> Path:
        """The path, without the part of a single file, for a canonical time or its first 13 characters."""
        return self._path_of(time[:HOUR] if self.dated else "")

    def _path_of_hour(self, hour: str) -> Path:
        return self.base / _PERCENT.sub(lambda field: hour[_AT[field[1]]], self._relative)

    def stem_now(self) -> Path:
        """The path, without the part of a single file, for the present."""
        return self.stem_of(datetime.now(UTC).isoformat())

    def new_file(self, stem: Path, wall_s: float) -> Path:
        """A new file of a period."""
        stamp = datetime.fromtimestamp(wall_s, UTC).strftime(_STAMP)
        return stem.with_name(f"{stem.name}-{stamp}-{os.urandom(_RANDOM_BYTES).hex()}{SUFFIX}")

    def made_at_s(self, path: Path) -> float | None:
        """When a file of this sink was made (wall clock, seconds); None for any other file."""
        try:
            found = self._own.fullmatch(str(path.relative_to(self.base)))
            return (
                None if found is None else datetime.strptime(found["stamp"], f"{_STAMP[:-1]}%z").timestamp()
            )
        except ValueError:
            return None

    def files(self) -> Iterator[Path]:
        """The existing files in no order."""
        return (path for path in self._walk() if self.made_at_s(path) is not None)

    def unfinished(self) -> Iterator[Path]:
        """The files that were begun under a temporary name and are not whole."""
        for path in self._walk():
            if path.name.startswith(".") and path.suffix == ".tmp":
                whole = path.with_name(path.name.removeprefix(".").removesuffix(".tmp"))
                if self.made_at_s(whole) is not None:
                    yield path

    def _walk(self) -> Iterator[Path]:
        """Every file below the base, or in it if no folder is dated. A folder without access has none."""
        for folder, folders, names in os.walk(self.base):
            if not self.dated:
                folders.clear()
            yield from (Path(folder, name) for name in names)


def unfinished_name(path: Path) -> Path:
    """The temporary name of a file. It begins with a dot, so that readers of the folder skip it."""
    return path.with_name(f".{path.name}.tmp")
