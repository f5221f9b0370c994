"""The partitions of a table by ranges of time: which there are, and how others are made. It blocks."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from streamd.core.clock import read_clock
from streamd.core.errors import BadData, EnvironmentFault
from streamd.core.now import Now
from streamd.postgresql.names import MOST_BYTES, quote
from streamd.postgresql.periods import FIRST, LAST, Period, Periods, free_around

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

LEAST_VERSION = 140_000
"""PostgreSQL 14, the first that detaches a partition without keeping queries from the table."""
_MADE_AT_ONCE = 50
"""Partitions made in one transaction. Each holds locks of the server until its end."""
_BOUNDS = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")
_THERE = """
SELECT format('%%I.%%I', n.nspname, c.relname), pg_get_expr(c.relpartbound, c.oid), i.inhdetachpending
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhparent = %s"""


class AttachedPartition(NamedTuple):
    """A partition that the server has. It `is_leaving` if a DETACH has begun and not ended."""

    sql_name: str
    period: Period
    is_leaving: bool


class TablePartitions:
    """Makes the partitions of the table `name`, which is divided by its column `column`.

    A partition is made as a table and attached then, which waits for no query of the table. A period of which
    another partition takes a part is made as the rest.
    """

    def __init__(
        self, name: str, column: str, periods: Periods, clock: Callable[[], Now] = read_clock
    ) -> None:
        self.column = column
        self.periods = periods
        self.sql_name = ".".join(map(quote, name.split(".", 1)))
        self._name = name
        self.clock = clock
        self._taken: list[Period] = []
        """The periods of the partitions, as they were last seen."""

    @property
    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.fromtimestamp(self.clock().wall_s, UTC)

    @property
    def coming(self) -> list[datetime]:
        """Moments of this period and of the next one, whose partitions are made ahead of time."""
        now = self.now
        return [now, self.periods.of(now).end]

    def there(self, connection: "Connection", oid: int) -> list[AttachedPartition]:
        """The partitions of the table with this number, oldest first. Raises `psycopg.Error`."""
        with connection.transaction():
            connection.execute("SET LOCAL datestyle = 'ISO'")  # in which the server writes the bounds
            rows = connection.execute(_THERE, (oid,)).fetchall()
        found = [AttachedPartition(name, _period(bounds), pending) for name, bounds, pending in rows]
        self._taken = [one.period for one in found if not one.is_leaving]
        return sorted(found, key=lambda one: one.period)

    def make(
        self, connection: "Connection", oid: int, moments: Iterable[datetime], step: Callable[[], None]
    ) -> int:
        """Make what is missing for these moments; how many were made. `step` is called after some of them.

        None is made for a moment that is too old or too new. Raises `psycopg.Error`.
        """
        wanted = list(moments)
        made = 0
        while True:
            with connection.transaction():
                keep_others_out(connection, self.sql_name)
                self.there(connection, oid)
                missing = self._missing(wanted)
                for period in missing[:_MADE_AT_ONCE]:
                    for statement in self._statements(connection, period):
                        connection.execute(statement)
                    made += 1
            self._taken += missing[:_MADE_AT_ONCE]
            step()
            if len(missing) <= _MADE_AT_ONCE:
                return made

    def changes(self, connection: "Connection", oid: int | None) -> list[str]:
        """The statements that make the coming partitions. Only reads. `oid` is None if there is no table.

        Raises `EnvironmentFault` for a server that is too old.
        """
        version = connection.info.server_version
        if version < LEAST_VERSION:
            raise EnvironmentFault(
                f"partition.width needs PostgreSQL {LEAST_VERSION // 10_000} or newer, the server is"
                f" PostgreSQL {version // 10_000}"
            )
        self._taken = []
        if oid is not None:
            self.there(connection, oid)
        return [
            statement
            for period in self._missing(self.coming)
            for statement in self._statements(connection, period)
        ]

    def check(self, text: str) -> None:
        """Refuse a time that has no partition and gets none. Raises `BadData`."""
        moment = datetime.fromisoformat(text)
        fault = self.periods.fault(moment, self.now)
        if fault is not None and not any(one.start <= moment < one.end for one in self._taken):
            raise BadData(*fault)

    def _missing(self, moments: Iterable[datetime]) -> list[Period]:
        """The periods to make for these moments, each the part of it that is free."""
        now = self.now
        by_period: defaultdict[Period, set[datetime]] = defaultdict(set)
        for moment in moments:
            if self.periods.fault(moment, now) is None:
                by_period[self.periods.of(moment)].add(moment)
        missing: list[Period] = []
        for period, inside in sorted(by_period.items()):
            taken = [other for other in self._taken if other.overlaps(period)]
            for moment in sorted(inside):
                free = free_around(moment, period, taken)
                if free is not None:
                    missing.append(free)
                    taken.append(free)
        return missing

    def _statements(self, connection: "Connection", period: Period) -> list[str]:
        name = self._free_name(connection, period.start)
        start, end = (f"'{moment.replace(tzinfo=None).isoformat(' ')}+00'" for moment in period)
        like = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE"
        return [
            f"CREATE TABLE {name} (LIKE {self.sql_name} {like})",
            f"ALTER TABLE {self.sql_name} ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})",
        ]

    def _free_name(self, connection: "Connection", start: datetime) -> str:
        schema, _, table = self._name.rpartition(".")
        stamp = re.sub(r"(_000000)?\.000000$", "", f"{start:%Y%m%d_%H%M%S.%f}")
        for number in count(1):
            end = f"_p{stamp}" + (f"_{number}" if number > 1 else "")
            cut = table.encode()[: MOST_BYTES - len(end)].decode(errors="ignore")
            name = ".".join(quote(part) for part in (schema, cut + end) if part)
            (taken,) = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone() or (
                False,
            )
            if not taken:
                return name
        raise AssertionError  # count does not end


def keep_others_out(connection: "Connection", sql_name: str) -> None:
    """Wait until no other sink prepares the table, and keep others from it until the transaction ends."""
    row = connection.execute("SELECT current_setting('lock_timeout')").fetchone()
    connection.execute("SET LOCAL lock_timeout = 0")  # others may make many partitions
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"streamd {sql_name}",))
    connection.execute("SELECT set_config('lock_timeout', %s, true)", row)


def _period(bounds: str) -> Period:
    """The period of a partition, as the server describes its bounds."""
    found = _BOUNDS.fullmatch(bounds)
    if found is None:  # a default partition has no bounds
        return Period(FIRST, FIRST)
    return Period(_moment(found[1]), _moment(found[2]))


def _moment(bound: str) -> datetime:
    """The time of `'2026-01-31 00:00:00+00'`, or the first or last of all for one that no `datetime` has."""
    text = bound.strip("'")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return FIRST if text == "MINVALUE" or text.startswith("-") or text.endswith(" BC") else LAST
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
