"""The selection of dead letters by reason, source, stage, pipeline, time or id."""

from dataclasses import astuple, dataclass
from typing import Any


@dataclass(slots=True, frozen=True)
class LetterFilter:
    """Selects the letters that match every given value. `since` is a time in the format of the table."""

    reason: str | None = None
    source: str | None = None
    stage: str | None = None
    pipeline: str | None = None
    since: str | None = None
    ids: tuple[int, ...] | None = None

    @property
    def empty(self) -> bool:
        """Whether it selects all letters."""
        return all(value is None for value in astuple(self))

    @property
    def condition(self) -> str:
        """The SQL condition with a `?` for each of `parameters`. `TRUE` if no value is given."""
        ids = f"id IN ({', '.join('?' * len(self.ids or ()))})"
        clauses = ("reason = ?", "source = ?", "stage = ?", "pipeline = ?", "received_at >= ?", ids)
        given = [clause for clause, value in zip(clauses, astuple(self), strict=True) if value is not None]
        return " AND ".join(given) or "TRUE"

    @property
    def parameters(self) -> list[Any]:
        """The values for the placeholders of `condition`, in order."""
        given = (self.reason, self.source, self.stage, self.pipeline, self.since)
        return [*(value for value in given if value is not None), *(self.ids or ())]
