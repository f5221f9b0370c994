"""The books as text for people: one line for each sum, and whether the books balance."""

from collections.abc import Iterable, Mapping

from streamd.core.books import Books, FrameBook
from streamd.core.plural import counted
from streamd.core.sums import Book, Term

_OF_STORED = {"unconfirmed": "unconfirmed", "expired": "expired since"}
"""Counters of sinks that count a part of `stored`, with their words. They are no terms of the sum."""


def summary(books: Books) -> list[str]:
    """The lines to print. The last line is `books balance` or lists every difference.

    A term marked as seldom is omitted while it is zero.
    """
    lines = [_line(book) for book in books.every()]
    lines += counter_lines(
        {f"step {' > '.join(place)}": counters.numbers() for place, counters in books.steps.items()}
        | {f"sink {name}": counters.numbers() for name, counters in books.sinks.items()}
    )
    found = differences(books)
    return [*lines, f"books do not balance: {'; '.join(found)}" if found else "books balance"]


def counter_lines(counted: Mapping[str, Mapping[str, int | Mapping[str, int]]]) -> list[str]:
    """One line for each step or sink with a counter above zero. These counters are no terms of the sums."""
    lines = []
    for place, numbers in counted.items():
        of_stored: list[str] = []
        others: list[str] = []
        for name, n in numbers.items():
            by_reason = {"": n} if isinstance(n, int) else n
            total = sum(by_reason.values())
            if total and name in _OF_STORED:
                of_stored.append(f"{total:,} {_OF_STORED[name]}")
            elif total:
                others.append(with_reasons(name.replace("_", " "), by_reason.items()))
        found = [f"of stored, {', '.join(of_stored)}", *others] if of_stored else others
        if found:
            lines.append(f"{place}: {'; '.join(found)}")
    return lines


def differences(books: Books) -> list[str]:
    """The numbers that should be zero after a stop and are not. If it is empty, every record has a fate."""
    found = [
        f"{_way(book)}: {_left(book)} {_words(book.terms[-1])}"
        for book in (*books.frames.values(), *books.records.values())
        if book.left
    ]
    found += [
        f"{_way(book)}: {counted(book.held, 'frame')} held" for book in books.frames.values() if book.held
    ]
    for deliveries in books.deliveries.values():
        if deliveries.left:
            found.append(f"{_way(deliveries)}: {_left(deliveries)} pending")
        if more := deliveries.offered - books.owed(deliveries):
            found.append(f"{_way(deliveries)}: offered {more:+,} against the records handed out")
    return found


def _way(book: Book) -> str:
    return f"source {book.source}" if isinstance(book, FrameBook) else " > ".join(book.place)


def _left(book: Book) -> str:
    return counted(book.left, book.noun)


def _words(term: Term) -> str:
    return term.name.replace("_", " ")


def _line(book: Book) -> str:
    """`lab > main: in 10 = out 9 + rejected 1 (utf8 1) + dropped 0 + in flight 0`."""
    came: list[str] = []
    gone: list[str] = []
    for term in book.terms:
        n = book.total(term)
        if term.seldom and not n:
            continue
        reasons = getattr(book, term.attribute).items() if term.by else (("", n),)
        if term.side == "part":
            gone[-1] += f" ({with_reasons(_words(term), reasons)})"
        elif term.side == "in":
            came.append(with_reasons(_words(term), reasons))
        else:
            gone.append(with_reasons(_words(term), reasons))
    line = f"{_way(book)}: {' + '.join(came)} = {' + '.join(gone)}"
    return line + _counted(book) if isinstance(book, FrameBook) else line


def _counted(book: FrameBook) -> str:
    return "".join(f"; {name.replace('_', ' ')} {n:,}" for name, n in book.counters.totals().items())


def with_reasons(name: str, reasons: Iterable[tuple[str, int]]) -> str:
    """`rejected 12 (json:syntax 10, utf8 2)`: the most frequent reason first, the empty reason not listed."""
    known = sorted(((n, reason) for reason, n in reasons if n), key=lambda part: (-part[0], part[1]))
    listed = ", ".join(f"{reason} {n:,}" for n, reason in known if reason)
    listed = f" ({listed})" if listed else ""
    return f"{name} {sum(n for n, _ in known):,}{listed}"
