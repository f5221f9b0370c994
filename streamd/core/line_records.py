"""Records of the lines of a frame, for codecs whose format has one record in each line."""

from collections.abc import Callable

from streamd.core.batch import Record
from streamd.core.contracts import BadElement
from streamd.core.errors import BadData
from streamd.core.json_rules import BYTE_ORDER_MARK, without_nul


def records_of_lines(payload: bytes, read: Callable[[bytes], Record]) -> Record | list[Record | BadElement]:
    """What `read` makes of each line; blank lines are skipped. A line that it refuses is rejected alone.

    A byte order mark before the frame and one NUL at its end are skipped. Raises `BadData` of `read` if the
    frame is one line, and with the reason `empty` if it has none.
    """
    body = without_nul(payload.removeprefix(BYTE_ORDER_MARK))
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not lines:
        raise BadData("empty")
    if len(lines) == 1:
        return read(lines[0])
    found: list[Record | BadElement] = []
    for line in lines:
        try:
            found.append(read(line))
        except BadData as bad:
            found.append(BadElement(line, bad.reason, bad.detail))
    return found
