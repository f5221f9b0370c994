"""What a step returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamd.core.batch import Record
from streamd.core.columns import FlatColumns
from streamd.core.hold import Hold
from streamd.core.quality import RuleKey


class Dropped:
    """The type of `DROP`."""

    def __repr__(self) -> str:
        return "streamd.DROP"


DROP = Dropped()
"""A step returns this to filter a record out."""


@dataclass(slots=True)
class BadRecord:
    """A record that a step rejected; `error` is the exception if the step's own code failed.

    `kind` groups similar rejects (`ValueError (steps.py:12)`); the log shows the first of each kind. It is
    empty if the step rejects records by design; those are not logged.
    """

    record: Any
    reason: str
    detail: str = ""
    error: BaseException | None = None
    kind: str = ""
    rules: tuple[RuleKey, ...] = ()
    """The rules that rejected the record."""


@dataclass(slots=True)
class Processed:
    """The result of a step: len(in) + emitted = len(records) + filtered + absorbed + len(rejects).

    `absorbed` records stay in the step, which emits other records for them later. `holds` belong to absorbed
    records that are now part of `records`; they settle with these records. If there are no records, they
    settle as filtered.
    """

    records: list[Record]
    filtered: int = 0
    absorbed: int = 0
    emitted: int = 0
    rejects: list[BadRecord] = field(default_factory=list)
    holds: Sequence[Hold] = ()
    columns: FlatColumns | None = None
    """The records as columns. Then `records` is empty."""
    owners: list[Record] | None = None
    """For each record, the record of the batch that it was made of; None if the step does not know it."""
    failures: Sequence[BadRecord] = ()
    """Exceptions for which no record is rejected. The log shows the first of each kind."""
    commit: Callable[[], None] | None = None
    """Called once if the result is used: the result of a waiting step that ran out of time is discarded."""

    changes: Mapping[Any, bytes | None] | None = None
    """What the batch changes in `Step.carried`."""

    @property
    def count(self) -> int:
        """The number of records."""
        return len(self.records) if self.columns is None else len(self.columns)
