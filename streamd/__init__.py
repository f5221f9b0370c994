"""streamd: a data-stream daemon you program in Python and query in SQL.

A Python step returns a record, a list of records or `DROP`, and raises `Reject("why")` to send a record
to the dead letters. `Context` is the type of what `open` of a class gets. `read` returns stored rows as a
data frame.
"""

from typing import TYPE_CHECKING, Any

import streamd._own_path  # noqa: F401 - must run before any other import of streamd
from streamd.core.errors import Reject

if TYPE_CHECKING:
    from streamd.core.contracts import DROP
    from streamd.functions.context import Context
    from streamd.reading.reading import Reading, read
else:

    def __getattr__(name: str) -> Any:
        """Import `DROP`, `Context`, `read` and `Reading` on first use.

        Their imports take a tenth of a second. A starting daemon cannot react to signals during that time.
        """
        if name == "DROP":
            from streamd.core.contracts import DROP  # noqa: PLC0415

            globals()[name] = DROP  # a step may read it once for each record
            return DROP
        if name == "Context":
            from streamd.functions.context import Context  # noqa: PLC0415

            return Context
        if name in ("Reading", "read"):
            from streamd.reading import reading  # noqa: PLC0415

            return getattr(reading, name)
        raise AttributeError(f"module 'streamd' has no attribute {name!r}")


__all__ = ["DROP", "Context", "Reading", "Reject", "read"]
__version__ = "0.1.0"
