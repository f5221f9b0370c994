"""The books as people read them when the daemon stops: a line for each sum, and whether they balance."""

from collections.abc import Iterable, Mapping

from streamd.core.books import Books, FrameBook
from streamd.core.sums import Book, Term

_OF_STORED = {"unconfirmed": "unconfirmed", "expired": "expired since"}
"""What sinks count beside the books that says something of what is in `stored`, and stays in it."""


def summary(books: Books, notes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The lines to print. The last one says `books balance` or names every record without a fate.

    `notes` is what the sinks count beside the books, by sink. Terms that are zero and seldom anything
    else are left out.
    """
    lines = [_line(book) for book in books.every()]
    lines += beside(notes)
    found = differences(books)
    return [*lines, f"books do not balance: {'; '.join(found)}" if found else "books balance"]


def beside(notes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A line for each sink that counts something beside its sums."""
    lines = []
    for sink, counted in notes.items():
        of_stored = [f"{n:,} {_OF_STORED[name]}" for name, n in counted.items() if n and name in _OF_STORED]
        parts = [f"of stored, {', '.join(of_stored)}"] if of_stored else []
        parts += [
            f"{name.replace('_', ' ')} {n:,}" for name, n in counted.items() if n and name not in _OF_STORED
        ]
        if parts:
            lines.append(f"sink {sink}: {'; '.join(parts)}")
    return lines


def differences(books: Books) -> list[str]:
    """What should be zero after a stop and is not. Empty: every record has a named fate."""
    found = [
        f"{_way(book)}: {book.left:,} {book.noun} {_words(book.terms[-1])}"
        for book in (*books.frames.values(), *books.records.values())
        if book.left
    ]
    found += [f"{_way(book)}: {book.held:,} frames held" for book in books.frames.values() if book.held]
    for deliveries in books.deliveries.values():
        if deliveries.left:
            found.append(f"{_way(deliveries)}: {deliveries.left:,} {deliveries.noun} pending")
        if more := deliveries.offered - books.owed(deliveries):
            found.append(f"{_way(deliveries)}: offered {more:+,} against what was handed out")
    return found


def _way(book: Book) -> str:
    return f"source {book.source}" if isinstance(book, FrameBook) else " > ".join(book.place)


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
            gone[-1] += f" ({parts(_words(term), reasons)})"
        elif term.side == "in":
            came.append(parts(_words(term), reasons))
        else:
            gone.append(parts(_words(term), reasons))
    line = f"{_way(book)}: {' + '.join(came)} = {' + '.join(gone)}"
    return line + _noted(book) if isinstance(book, FrameBook) else line


def _noted(book: FrameBook) -> str:
    total: dict[str, int] = {}
    for (counter, _), n in book.notes.items():
        total[counter] = total.get(counter, 0) + n
    return "".join(f"; {counter.replace('_', ' ')} {n:,}" for counter, n in total.items())


def parts(name: str, reasons: Iterable[tuple[str, int]]) -> str:
    """`rejected 12 (json:syntax 10, utf8 2)`, the most frequent reason first; an empty one has no name."""
    known = sorted(((n, reason) for reason, n in reasons if n), key=lambda part: (-part[0], part[1]))
    listed = ", ".join(f"{reason} {n:,}" for n, reason in known if reason)
    listed = f" ({listed})" if listed else ""
    return f"{name} {sum(n for n, _ in known):,}{listed}"
