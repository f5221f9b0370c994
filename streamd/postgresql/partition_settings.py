"""The options of partitions and retention."""

from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import Field, model_validator

from streamd.core.errors import ConfigError
from streamd.core.schema import FieldSettings
from streamd.core.settings import DurationS, Settings
from streamd.postgresql.partitions import TablePartitions
from streamd.postgresql.periods import Periods

MOST_PARTITIONS = 1200
"""A statement about the whole table locks each partition and its indexes, and the server has, by default,
locks for about 6,400 in all."""
_PAST_PERIODS = 366
_RECEIVED_AT = "received_at"


class PartitionSettings(Settings):
    """Partitions by ranges of time. The table has none, or those of its owner, without `width`."""

    width: DurationS | None = Field(
        None,
        ge=60,
        description="the time that one partition covers, like 1d: the sink divides the table by ranges of"
        " time, and makes each partition before its time comes. Boundaries are at full hours, at midnight"
        " (UTC) and on Mondays. Needs PostgreSQL 14",
    )
    column: str | None = Field(
        None,
        description="the timestamp column that says to which partition a row belongs; default: received_at",
    )
    behind: DurationS | None = Field(
        None,
        gt=0,
        description="records whose time is longer ago are rejected (`row:too_old`), unless their partition"
        " exists; default: retention.max_age, else 366 times the width",
    )
    ahead: DurationS | None = Field(
        None,
        gt=0,
        description="records whose time is further in the future are rejected (`row:too_new`), unless their"
        " partition exists; default: the width",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.width is None:
            for name in ("column", "behind", "ahead"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} does nothing without width")
        return self

    def periods(self, max_age_s: float | None) -> Periods | None:
        """The periods of the partitions; None without partitions. Raises `ConfigError`."""
        width_s = self.width
        if width_s is None:
            if max_age_s is not None:
                raise ConfigError(
                    "'retention.max_age' needs partitions, which are dropped whole: set partition.width, like"
                    ' "1d"',
                    ("retention", "max_age"),
                )
            return None
        if max_age_s is not None and self.behind is not None and self.behind > max_age_s:
            raise ConfigError(
                "'partition.behind' is more than 'retention.max_age', after which the rows are dropped",
                ("partition", "behind"),
            )
        behind_s = self.behind or max_age_s or _PAST_PERIODS * width_s
        ahead_s = self.ahead or width_s
        most = int(((max_age_s or behind_s) + ahead_s) / width_s) + 2
        if most > MOST_PARTITIONS:
            raise ConfigError(
                f"there would be up to {most} partitions of {width_s:.0f} s, {MOST_PARTITIONS} are allowed:"
                " choose a greater width",
                ("partition", "width"),
            )
        return Periods(width_s, behind_s, ahead_s)


class ServerRetentionSettings(Settings):
    """How long rows are kept."""

    max_age: DurationS | None = Field(
        None,
        gt=0,
        description="partitions whose time ended longer ago are dropped, so that a row is kept for this"
        " time and at most one partition.width more; needs partition.width",
    )


def partitions_of(
    partition: PartitionSettings,
    retention: ServerRetentionSettings,
    table: str,
    fields: Mapping[str, FieldSettings],
    unique: Sequence[str],
    *,
    metadata: bool,
) -> TablePartitions | None:
    """The partitions of a table with these fields; None if the sink makes none. Raises `ConfigError`."""
    periods = partition.periods(retention.max_age)
    if periods is None:
        return None
    column = partition.column or _RECEIVED_AT
    if column in fields:
        if fields[column].type != "timestamp":
            raise ConfigError(
                f"'partition.column': {column!r} is no column of type timestamp", ("partition", "column")
            )
    elif column != _RECEIVED_AT or (fields and not metadata):
        raise ConfigError(
            "'partition' needs the time of a row: name a timestamp column in partition.column, or set"
            " metadata = true for the column received_at",
            ("partition", "column"),
        )
    if unique and column not in unique:
        raise ConfigError(
            f"'unique' must contain the column {column!r}, because a partition knows no rows of another"
            f" one: unique = {[column, *unique]}",
            ("unique",),
        )
    return TablePartitions(table, column, periods)
