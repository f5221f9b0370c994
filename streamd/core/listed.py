"""Names in a message, as many as a reader takes in."""

from collections.abc import Iterable

MOST_SHOWN = 10


def listed(names: Iterable[str]) -> str:
    """`a, b, c`. Of more than `MOST_SHOWN` names the first ones, and how many others there are."""
    every = list(names)
    more = len(every) - MOST_SHOWN
    return ", ".join(every[:MOST_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
