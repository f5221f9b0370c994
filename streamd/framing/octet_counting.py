from streamd.core.counted import Counted
from streamd.core.errors import BadData
from streamd.core.settings import Settings

MAX_DIGITS = 9
"""Most digits of a count. No sender needs more, and longer counts have broken other parsers."""


class OctetCounting(Counted[Settings]):
    """Cuts frames that follow their length in decimal digits and a space (RFC 6587 section 3.4.1, RFC 5425).

    A length has one to nine digits and does not begin with 0. After any other text the beginning of the next
    frame is unknown, so the stream is broken (`count:zero`, `count:too_long`, `count:syntax`). A space (Cisco
    ASA) or LF between frames is skipped.
    """

    between = b" \n"

    def read_prefix(self, data: bytes, at: int) -> tuple[int, int] | None:
        space = data.find(b" ", at, at + MAX_DIGITS + 1)
        digits = data[at : at + MAX_DIGITS + 1] if space < 0 else data[at:space]
        if data.startswith(b"0", at):
            raise BadData("count:zero")
        if not digits.isdigit():
            raise BadData("count:syntax")
        if space >= 0:
            return space + 1, int(digits)
        if len(digits) > MAX_DIGITS:
            raise BadData("count:too_long")
        return None
