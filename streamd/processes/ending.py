"""What becomes of the records that were under way in a process that has ended."""

import asyncio
from pathlib import Path

from streamd.processes.child import LedProcess
from streamd.processes.proven import add_proven


async def give_up(child: LedProcess, ledger: Path) -> dict[str, int]:
    """Count in its books what was under way as dropped, except what the ledger proves to be stored.

    Returns the numbers for the log: `frames_left`, `records_left` and `deliveries_left`.
    """
    books = child.snapshot.books
    if not child.reported_last:
        await asyncio.to_thread(add_proven, books, ledger, child.assignment.run_id)
    return {
        f"{kind}_left": sum(book.give_up("process_ended") for book in kept.values())
        for kind, kept in (
            ("frames", books.frames),
            ("records", books.records),
            ("deliveries", books.deliveries),
        )
    }
