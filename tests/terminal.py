"""What a pseudo-terminal shows. One read may return a part of it, although all was written before."""

import os
import select

_LONGEST_S = 20


def shown(ours: int, end: str | None = None) -> str:
    """The text up to `end`, or all of it when every program has closed the terminal."""
    text = b""
    while end is None or not text.decode(errors="replace").endswith(end):
        assert select.select([ours], [], [], _LONGEST_S)[0], text
        try:
            text += os.read(ours, 65536)
        except OSError:  # all have closed it
            assert end is None, text
            break
    return text.decode()
