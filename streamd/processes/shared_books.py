"""Books whose numbers are in shared memory, so that they are known after their process was killed."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from streamd.core.books import SUMS, B, Books
from streamd.core.sums import Book
from streamd.processes.read_notes import uncounted
from streamd.processes.shared_numbers import Name, SharedNumbers


class SharedBooks(Books):
    """The books of one of several processes. Every number of a sum is in `numbers`.

    A change of a number costs about 0.1 µs more than in plain books. For a batch there are about ten.
    """

    def __init__(self, numbers: SharedNumbers) -> None:
        super().__init__()
        self._numbers = numbers

    def made(self, kind: type[B], *place: str) -> B:
        """A book with its numbers in shared memory, or a plain one if there is no room."""
        plain = [term.attribute for term in kind.terms if term.side != "left" and not term.by]
        places = [self._numbers.place(kind.unit, *place, attribute) for attribute in plain]
        if places[-1] is None:
            return super().made(kind, *place)
        shared = _SHARED[kind]
        book: Any = shared.__new__(shared)
        book.cells = self._numbers.cells[places[0] : places[-1] + 1]  # new places follow each other
        book.__init__(*place)
        for term in kind.terms:
            if term.by:
                setattr(book, term.attribute, _Reasons(self._numbers, (kind.unit, *place, term.attribute)))
        made: B = book
        return made


def take_over(books: Books, numbers: SharedNumbers) -> None:
    """Set the numbers of reported books to those of the process that reported them, which has ended.

    They are newer than its last report. Datagrams that it had read and not counted are added as received. If
    it was killed after a pipeline had handed out records, and before it had offered them to a sink, they are
    added there. Nothing changes if some numbers have found no room.
    """
    if not numbers.are_all:
        return
    known = list(books.deliveries.values())
    find: dict[str, Callable[..., Book]] = dict(
        zip((kind.unit for kind in SUMS), (books.source, books.pipeline, books.delivery), strict=True)
    )
    widths = {kind.unit: len(kind.keys) for kind in SUMS}
    for (unit, *name), n in numbers.items():
        if unit not in find:
            continue
        attribute, *reason = name[widths[unit] :]
        book = find[unit](*name[: widths[unit]])
        if reason:
            getattr(book, attribute)[reason[0]] = n
        else:
            setattr(book, attribute, n)
    for source, n in uncounted(numbers):
        books.source(source).received += n
    for delivery in known:
        delivery.offered = max(delivery.offered, books.owed(delivery))


class _Number:
    """The attribute of a book whose number is in shared memory."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __get__(self, book: Any, owner: object) -> int:
        number: int = book.cells[self._index]
        return number

    def __set__(self, book: Any, number: int) -> None:
        book.cells[self._index] = number


class _Reasons(Counter[str]):
    """Numbers by reason that are also in shared memory."""

    def __init__(self, numbers: SharedNumbers, name: Name) -> None:
        super().__init__()
        self._numbers = numbers
        self._name = name
        self._at: dict[str, int | None] = {}

    def __setitem__(self, reason: str, n: int) -> None:
        super().__setitem__(reason, n)
        if reason not in self._at:
            self._at[reason] = self._numbers.place(*self._name, reason)
        if (at := self._at[reason]) is not None:
            self._numbers.cells[at] = n

    def update(self, *others: Any, **more: int) -> None:
        """Add numbers. A plain `Counter` would set them without `__setitem__` while it is empty."""
        for reason, n in Counter(*others, **more).items():
            self[reason] += n


def _shared(kind: type[Book]) -> type[Book]:
    plain = [term.attribute for term in kind.terms if term.side != "left" and not term.by]
    made: Any = type(kind.__name__, (kind,), {name: _Number(index) for index, name in enumerate(plain)})
    made.terms = kind.terms
    shared: type[Book] = made
    return shared


_SHARED = {kind: _shared(kind) for kind in SUMS}
