"""streamd: a data-stream daemon you program in Python and query in SQL.

A python step returns a record, a list of records or `DROP`, and raises `Reject("why")` to send a record
to the dead letters.
"""

from streamd.core.contracts import DROP
from streamd.core.errors import BadData


class Reject(BadData):
    """Raised by a user's step: the record goes to the dead letters with this text as its detail."""

    def __init__(self, detail: str) -> None:
        super().__init__("rejected", detail)


__all__ = ["DROP", "Reject"]
__version__ = "0.1.0"
