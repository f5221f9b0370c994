"""Which dead letters are meant."""

from dataclasses import astuple, dataclass


@dataclass(slots=True, frozen=True)
class LetterFilter:
    """Every one that is given has to hold; `since` is a moment as the table writes moments."""

    reason: str | None = None
    source: str | None = None
    stage: str | None = None
    pipeline: str | None = None
    since: str | None = None

    @property
    def empty(self) -> bool:
        """Whether it means all letters."""
        return all(value is None for value in astuple(self))

    @property
    def condition(self) -> str:
        """The condition in SQL, with a `?` for each of `parameters`; true where nothing is given."""
        clauses = ("reason = ?", "source = ?", "stage = ?", "pipeline = ?", "received_at >= ?")
        given = [clause for clause, value in zip(clauses, astuple(self), strict=True) if value is not None]
        return " AND ".join(given) or "TRUE"

    @property
    def parameters(self) -> list[str]:
        """The values of `condition`, in order."""
        return [value for value in astuple(self) if value is not None]
