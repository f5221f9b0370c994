"""Which dead letters are meant."""

from dataclasses import astuple, dataclass
from typing import Any


@dataclass(slots=True, frozen=True)
class LetterFilter:
    """A letter is meant if it fulfils all that is given. `since` is a time as the table writes times."""

    reason: str | None = None
    source: str | None = None
    stage: str | None = None
    pipeline: str | None = None
    since: str | None = None
    ids: tuple[int, ...] | None = None

    @property
    def empty(self) -> bool:
        """Whether it means all letters."""
        return all(value is None for value in astuple(self))

    @property
    def condition(self) -> str:
        """The condition in SQL, with a `?` for each of `parameters`; true where nothing is given."""
        ids = f"id IN ({', '.join('?' * len(self.ids or ()))})"
        clauses = ("reason = ?", "source = ?", "stage = ?", "pipeline = ?", "received_at >= ?", ids)
        given = [clause for clause, value in zip(clauses, astuple(self), strict=True) if value is not None]
        return " AND ".join(given) or "TRUE"

    @property
    def parameters(self) -> list[Any]:
        """The values of `condition`, in order."""
        given = (self.reason, self.source, self.stage, self.pipeline, self.since)
        return [*(value for value in given if value is not None), *(self.ids or ())]
