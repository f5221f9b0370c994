"""What the ledger proves about a process that has ended without a last report."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

from streamd.core.books import Books
from streamd.core.errors import StreamdError
from streamd.sqlite.read_only import open_read_only

_STORED = """
SELECT source, pipeline, sink, sum(n) FROM ledger
WHERE run_id = ? AND counter = 'stored' AND source <> ''
GROUP BY source, pipeline, sink
"""


def add_proven(books: Books, ledger: Path, run_id: str) -> None:
    """Add the records that the run has stored after its last report. Blocks.

    A sink in the ledger's file counts its rows in the transaction that stores them, so the ledger knows every
    row. Records that were stored were also received, decoded and offered. If the ledger cannot be read, the
    books stay as reported.
    """
    try:
        with closing(open_read_only(ledger)) as connection:
            rows = connection.execute(_STORED, (run_id,)).fetchall()
    except (sqlite3.Error, StreamdError):
        return
    add_stored(books, {(source, pipeline, sink): n for source, pipeline, sink, n in rows})


def add_stored(books: Books, stored: dict[tuple[str, str, str], int]) -> None:
    """Set the numbers of stored records that are higher than in the books, and what follows from them.

    A record that one sink has stored was also offered to the other sinks of its pipeline, and it was a frame
    of the source. The number of frames is wrong if the codec makes several records of one.
    """
    more: defaultdict[tuple[str, str], int] = defaultdict(int)
    for key, n in stored.items():
        book = books.delivery(*key)
        book.stored = max(book.stored, n)
        more[key[:2]] = max(more[key[:2]], -book.left)
    frames: defaultdict[str, int] = defaultdict(int)
    for (source, pipeline), n in more.items():
        if n <= 0:
            continue
        handed = books.pipeline(source, pipeline)
        offers = [book for book in books.deliveries.values() if book.place[:2] == handed.place]
        owed = [books.owed(book) for book in offers]
        under_way = min(n, handed.left)
        handed.taken_in += n - under_way
        handed.out += n
        for book, due in zip(offers, owed, strict=True):
            book.offered += n
            book.owe(due + n, handed.out)
        frames[source] = max(frames[source], n - under_way)
    for source, n in frames.items():
        waiting = min(n, books.source(source).left)
        books.source(source).decoded += n
        books.source(source).received += n - waiting
