"""A sum of the books, declared as data: its terms and their meanings.

Metrics, `/status`, the ledger and its views, the log at the stop and the tables of the documentation are
made from the terms that a book declares. Code elsewhere names a term only if it treats the term specially.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, get_type_hints, overload


class Entry(NamedTuple):
    """One number of the books: `counter` has the value `n`, for `reason` if there is one."""

    source: str
    pipeline: str
    sink: str
    counter: str
    reason: str
    n: int


@dataclass(slots=True, frozen=True)
class Term:
    """One term of a sum. It annotates the attribute with its number, or with a `Counter` by reason."""

    side: Literal["in", "out", "part", "left"]
    """Left of the equals sign, right of it, a part of the previous term, or the derived last term."""
    meaning: str
    """One sentence for the documentation and the help text of the metric."""
    by: str = ""
    """The label of its reasons (`reason`, `stage`); empty if the term is one number."""
    name: str = ""
    """The name for users; by default the name of the attribute."""
    attribute: str = ""
    """The name of the attribute, set by the book."""
    seldom: bool = False
    """Whether lines for people omit the term while it is 0."""
    gauge: bool = False
    """Whether the number may fall, because it counts things under way."""
    in_summary: bool = False
    """Whether the term is a column of the view `ledger_summary`."""


class Left:
    """The derived last term: the sum of the `in` terms minus the sum of the `out` terms."""

    def __init__(self, meaning: str) -> None:
        self.meaning = meaning

    @overload
    def __get__(self, book: None, owner: object) -> Self: ...
    @overload
    def __get__(self, book: "Book", owner: object) -> int: ...
    def __get__(self, book: "Book | None", owner: object) -> "Self | int":
        return self if book is None else book.left


class Book:
    """The numbers of one sum for one source and, depending on the sum, one pipeline and one sink.

    A subclass declares each term as `received: Annotated[int, Term("in", "…")]`, and the last one as
    `waiting = Left("…")`. The numbers are plain attributes, so counting costs one addition.
    """

    unit: ClassVar[str]
    """The unit of account, which is part of the names of the metrics."""
    noun: ClassVar[str]
    """The name of one of the counted things in lines for people."""
    keys: ClassVar[tuple[str, ...]]
    """The labels of each number."""
    buffer: ClassVar[Literal["source", "sink"] | None] = None
    """The kind of buffer that holds a part of the derived term."""
    terms: ClassVar[tuple[Term, ...]] = ()
    """All terms in the order of the sum; the derived one is the last."""

    if TYPE_CHECKING:  # each subclass declares it, at its place in the sum
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
        """The source, and the pipeline and sink if the book has them."""
        return (self.source, self.pipeline, self.sink)[: len(self.keys)]

    def total(self, term: Term) -> int:
        """The number of the term; for a term with reasons, the sum over them."""
        number: int = getattr(self, term.attribute).total() if term.by else getattr(self, term.attribute)
        return number

    @property
    def left(self) -> int:
        """The derived term: the number of things that are still under way."""
        came = sum(self.total(term) for term in self.terms if term.side == "in")
        return came - sum(self.total(term) for term in self.terms if term.side == "out")

    def give_up(self, reason: str) -> int:
        """Count the derived term as dropped; returns its number. A negative number stays unchanged."""
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
        """Every number by its name; for a term with reasons, a dict by reason."""
        return {
            term.name: dict(getattr(self, term.attribute)) if term.by else self.total(term)
            for term in self.terms
        }

    def entries(self) -> Iterator[Entry]:
        """Every number, including the derived one."""
        for term in self.terms:
            held: Any = getattr(self, term.attribute)
            for reason, n in held.items() if term.by else (("", held),):
                yield Entry(self.source, self.pipeline, self.sink, term.name, reason, n)


def equation(book: type[Book]) -> str:
    """`received = decoded + rejected + dropped + waiting`."""
    came = " + ".join(term.name for term in book.terms if term.side == "in")
    gone = " + ".join(term.name for term in book.terms if term.side in {"out", "left"})
    return f"{came} = {gone}"
