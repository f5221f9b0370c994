"""Paths with a date in the file name, one file for each hour, day, month or year: `logs-%Y-%m-%d.db`."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from streamd.core.errors import ConfigError

_FIELDS = {"Y": r"(?P<Y>\d{4})", "m": r"(?P<m>\d{2})", "d": r"(?P<d>\d{2})", "H": r"(?P<H>\d{2})"}
_ORDER = "YmdH"
_PERCENT = re.compile(r"%(.?)")


def is_dated(path: Path) -> bool:
    """True if the path names one file for each period."""
    return "%" in path.name


def files_of(pattern: Path) -> list[Path]:
    """The existing files of a dated path, oldest first; or the path itself if it is not dated and exists.

    Raises `ConfigError` for an invalid pattern.
    """
    if not is_dated(pattern):
        return [pattern] if pattern.exists() else []
    return DatedPath(pattern).files()


class DatedPath:
    """A path with %Y, %m, %d or %H in its file name, which names one file for each period (UTC).

    A finer field needs all coarser ones, so that each file is one period. Raises `ConfigError` otherwise.
    """

    def __init__(self, pattern: Path) -> None:
        self.pattern = pattern
        fields = _PERCENT.findall(pattern.name)
        if sorted(fields, key=_ORDER.find) != list(_ORDER[: len(fields)]) or not fields:
            raise ConfigError(
                f"{pattern.name!r} names no periods: the fields are %Y, %m, %d and %H, each once"
                ' and none without the coarser ones, like "logs-%Y-%m-%d.db"'
            )
        self._finest = _ORDER[len(fields) - 1]
        parts = _PERCENT.split(pattern.name)  # text and field in turn
        self._name = re.compile(
            "".join(_FIELDS[part] if place % 2 else re.escape(part) for place, part in enumerate(parts)),
            re.ASCII,
        )

    def start_of(self, moment: datetime) -> datetime:
        """The start (UTC) of the period that contains the moment, which may have any time zone."""
        start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if self._finest != "H":
            start = start.replace(hour=0)
        if self._finest in "Ym":
            start = start.replace(day=1)
        return start.replace(month=1) if self._finest == "Y" else start

    def end_of(self, start: datetime) -> datetime:
        """The end of the period that begins at `start`."""
        longest = {"Y": timedelta(days=366), "m": timedelta(days=31), "d": timedelta(days=1)}
        return self.start_of(start + longest.get(self._finest, timedelta(hours=1)))

    def file_of(self, moment: datetime) -> Path:
        """The file of the period that contains the moment."""
        utc = moment.astimezone(UTC)
        values = {"Y": f"{utc.year:04}", "m": f"{utc.month:02}", "d": f"{utc.day:02}", "H": f"{utc.hour:02}"}
        return self.pattern.with_name(_PERCENT.sub(lambda field: values[field[1]], self.pattern.name))

    def start_of_file(self, path: Path) -> datetime | None:
        """The start of a file's period; None if its name does not match the pattern."""
        found = self._name.fullmatch(path.name)
        if found is None:
            return None
        given = found.groupdict()
        try:
            return datetime(
                int(given["Y"]), int(given.get("m", 1)), int(given.get("d", 1)), int(given.get("H", 0)),
                tzinfo=UTC,
            )  # fmt: skip
        except ValueError:
            return None

    def is_in_future(self, path: Path, moment: datetime) -> bool:
        """True if the file's period begins after the moment."""
        start = self.start_of_file(path)
        return start is not None and start > moment

    def files(self) -> list[Path]:
        """The existing files, oldest first."""
        try:
            there = list(self.pattern.parent.iterdir())
        except FileNotFoundError:
            return []
        known = [(start, path) for path in there if (start := self.start_of_file(path)) is not None]
        return [path for _, path in sorted(known)]
