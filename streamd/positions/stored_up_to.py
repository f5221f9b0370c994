"""How far the records of an input are stored."""

from typing import NamedTuple


class StoredUpTo(NamedTuple):
    """All records of the parts before `number` are stored, and the first `rows` records of this part."""

    number: int
    rows: int


BEGINNING = StoredUpTo(0, 0)
"""Nothing is stored. Parts are numbered from 1, or from 0 and have records."""
