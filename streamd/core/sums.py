"""A sum of the books as data: its terms with their meanings, and what follows from them.

Metrics, `/status`, the ledger and its views, the lines at the stop and the tables of the documentation read
the terms that a book declares. None of them names a term that it does not treat in a way of its own.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, get_type_hints, overload


class Entry(NamedTuple):
    """One number of the books: `n` of `counter`, by `reason` where it has one."""

    source: str
    pipeline: str
    sink: str
    counter: str
    reason: str
    n: int


@dataclass(slots=True, frozen=True)
class Term:
    """One term of a sum. It annotates the attribute that holds its number, or a `Counter` by reason."""

    side: Literal["in", "out", "part", "left"]
    """Left of the equals sign, right of it, a part of the term before it, or the derived last term."""
    meaning: str
    """One sentence for the documentation and for the metric's help."""
    by: str = ""
    """What its reasons are called as a label (`reason`, `stage`); empty: it is one number."""
    name: str = ""
    """As users read it; by default the name of the attribute."""
    attribute: str = ""
    """Set by the book."""
    seldom: bool = False
    """A line for people leaves it out while it is zero."""
    gauge: bool = False
    """It may fall, because it counts things under way."""
    in_summary: bool = False
    """It is a column of the view `ledger_summary`."""


class Left:
    """The derived last term: what came in less what went out. A wrong sum shows as a number here."""

    def __init__(self, meaning: str) -> None:
        self.meaning = meaning

    @overload
    def __get__(self, book: None, owner: object) -> Self: ...
    @overload
    def __get__(self, book: "Book", owner: object) -> int: ...
    def __get__(self, book: "Book | None", owner: object) -> "Self | int":
        return self if book is None else book.left


class Book:
    """The numbers of one sum for one source, and where it applies one pipeline and one sink.

    A subclass declares the terms: `received: Annotated[int, Term("in", "…")]` for each, and the last one as
    `waiting = Left("…")`. The numbers are plain attributes, so counting costs an addition.
    """

    unit: ClassVar[str]
    """The unit of account: the middle of the names of its metrics."""
    noun: ClassVar[str]
    """The things counted, in a line for people."""
    keys: ClassVar[tuple[str, ...]]
    """The labels of each of its numbers."""
    buffer: ClassVar[Literal["source", "sink"] | None] = None
    """The kind of buffer that holds a part of what is left."""
    terms: ClassVar[tuple[Term, ...]] = ()
    """In the order of the sum; the derived one is the last."""

    if TYPE_CHECKING:  # every subclass declares it, in the place that it has in its sum
        dropped: Counter[str]

    def __init_subclass__(cls) -> None:
        declared = [
            replace(term, attribute=attribute, name=term.name or attribute)
            for attribute, hint in get_type_hints(cls, include_extras=True).items()
            for term in getattr(hint, "__metadata__", ())
            if isinstance(term, Term)
        ]
        lefts = [
            Term("left", left.meaning, name=name, attribute=name)
            for name, left in vars(cls).items()
            if isinstance(left, Left)
        ]
        cls.terms = (*declared, *lefts)

    def __init__(self, source: str, pipeline: str = "", sink: str = "") -> None:
        self.source = source
        self.pipeline = pipeline
        self.sink = sink
        for term in self.terms:
            if term.side != "left":
                setattr(self, term.attribute, Counter() if term.by else 0)

    @property
    def place(self) -> tuple[str, ...]:
        """Source, pipeline and sink, as far as the book has them."""
        return (self.source, self.pipeline, self.sink)[: len(self.keys)]

    def total(self, term: Term) -> int:
        """Its number, or that of all its reasons."""
        number: int = getattr(self, term.attribute).total() if term.by else getattr(self, term.attribute)
        return number

    @property
    def left(self) -> int:
        """What came in and has no fate yet; never counted but derived."""
        came = sum(self.total(term) for term in self.terms if term.side == "in")
        return came - sum(self.total(term) for term in self.terms if term.side == "out")

    def give_up(self, reason: str) -> int:
        """Enter what is left as dropped; how much it was. A sum that is below zero stays, and shows."""
        left = max(0, self.left)
        if left:
            self.dropped[reason] += left
        return left

    def add(self, other: Self) -> None:
        """Add each number of another book of the same kind."""
        for term in self.terms:
            if term.by:
                getattr(self, term.attribute).update(getattr(other, term.attribute))
            elif term.side != "left":
                setattr(self, term.attribute, self.total(term) + other.total(term))

    def numbers(self) -> dict[str, int | dict[str, int]]:
        """Every number by its name; of a term with reasons, each by its reason."""
        return {
            term.name: dict(getattr(self, term.attribute)) if term.by else self.total(term)
            for term in self.terms
        }

    def entries(self) -> Iterator[Entry]:
        """Every number, the derived one included."""
        for term in self.terms:
            held: Any = getattr(self, term.attribute)
            for reason, n in held.items() if term.by else (("", held),):
                yield Entry(self.source, self.pipeline, self.sink, term.name, reason, n)


def equation(book: type[Book]) -> str:
    """`received = decoded + rejected + dropped + waiting`."""
    came = " + ".join(term.name for term in book.terms if term.side == "in")
    gone = " + ".join(term.name for term in book.terms if term.side in {"out", "left"})
    return f"{came} = {gone}"
