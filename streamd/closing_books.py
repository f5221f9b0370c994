"""The books as people read them when the daemon stops: a line for each sum, and whether they balance."""

from collections.abc import Iterable, Mapping

from streamd.core.books import Books, DeliveryBook, FrameBook, RecordBook

_OF_STORED = {"unconfirmed": "unconfirmed", "expired": "expired since"}
"""What sinks count beside the books that says something of what is in `stored`, and stays in it."""


def summary(books: Books, notes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The lines to print. The last one says `books balance` or names every record without a fate.

    `notes` is what the sinks count beside the books, by sink. Parts that are zero are left out, but for
    those everybody asks about.
    """
    lines = [_frames(frames) for frames in books.frames.values()]
    lines += [_records(records) for records in books.records.values()]
    lines += [_deliveries(deliveries) for deliveries in books.deliveries.values()]
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
        f"source {frames.source}: {frames.waiting:,} frames waiting"
        for frames in books.frames.values()
        if frames.waiting
    ]
    found += [
        f"{_way(records)}: {records.in_flight:,} records in flight"
        for records in books.records.values()
        if records.in_flight
    ]
    for deliveries in books.deliveries.values():
        if deliveries.pending:
            found.append(f"{_way(deliveries)}: {deliveries.pending:,} records pending")
        handed = books.records.get((deliveries.source, deliveries.pipeline))
        if handed is not None and (more := deliveries.offered - deliveries.due(handed.out)):
            found.append(f"{_way(deliveries)}: offered {more:+,} against what was handed out")
    return found


def _way(book: RecordBook | DeliveryBook) -> str:
    sink = f" > {book.sink}" if isinstance(book, DeliveryBook) else ""
    return f"{book.source} > {book.pipeline}{sink}"


def _frames(book: FrameBook) -> str:
    beside: dict[str, int] = {}
    for (counter, _), n in book.notes.items():
        beside[counter] = beside.get(counter, 0) + n
    text = "".join(f"; {counter.replace('_', ' ')} {n:,}" for counter, n in beside.items())
    return (
        f"source {book.source}: received {book.received:,} = decoded {book.decoded:,}"
        f" + {parts('rejected', book.rejected.items())} + {parts('dropped', book.dropped.items())}"
        f" + waiting {book.waiting:,}{text}"
    )


def _records(book: RecordBook) -> str:
    optional = (("filtered", book.filtered), ("absorbed", book.absorbed))
    return (
        f"{_way(book)}: in {book.taken_in:,}{_more([('emitted', book.emitted)])} = out {book.out:,}"
        f"{_more(optional)} + {parts('rejected', book.rejected.items())}"
        f" + {parts('dropped', book.dropped.items())} + in flight {book.in_flight:,}"
    )


def _deliveries(book: DeliveryBook) -> str:
    replaced = f" (replaced {book.replaced:,})" if book.replaced else ""
    return (
        f"{_way(book)}: offered {book.offered:,} = stored {book.stored:,}{replaced}"
        f"{_more([('unmatched', book.unmatched)])} + rejected {book.rejected:,}"
        f" + {parts('dropped', book.dropped.items())} + pending {book.pending:,}"
    )


def _more(terms: Iterable[tuple[str, int]]) -> str:
    return "".join(f" + {name} {n:,}" for name, n in terms if n)


def parts(name: str, reasons: Iterable[tuple[str, int]]) -> str:
    """`rejected 12 (json:syntax 10, utf8 2)`, the most frequent reason first; an empty one has no name."""
    known = sorted(((n, reason) for reason, n in reasons if n), key=lambda part: (-part[0], part[1]))
    listed = ", ".join(f"{reason} {n:,}" for n, reason in known if reason)
    listed = f" ({listed})" if listed else ""
    return f"{name} {sum(n for n, _ in known):,}{listed}"
