"""Which dead letters are meant."""

from dataclasses import astuple, dataclass

from streamd.core.errors import BadData
from streamd.core.settings import parse_duration_s
from streamd.core.timestamp import canonical, from_epoch


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


def moment(text: str, wall_s: float) -> str:
    """`since` of a time, or of a duration before `wall_s`. Raises `ValueError`."""
    try:
        return from_epoch(wall_s - parse_duration_s(text))
    except (ValueError, BadData):
        pass
    try:
        return canonical(text, timezone="UTC")
    except BadData as bad:
        raise ValueError(f"neither a duration like 10m nor a time: {bad.detail}") from None
