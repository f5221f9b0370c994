"""Turns the bytes of a terminal into names of keys."""

import codecs
from collections.abc import Iterator

_ESCAPE = "\x1b"
_NAMED = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x04": "q"}
_SEQUENCES = {
    "A": "up", "B": "down", "C": "right", "D": "left", "5~": "page up", "6~": "page down",
}  # fmt: skip
_LONGEST = 16
"""Characters of a sequence. A longer one is no key."""


class Keys:
    """Decodes keys. A sequence or a character may arrive in several parts."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("ignore")
        self._held = ""

    def of(self, data: bytes) -> Iterator[str]:
        """The keys that are complete with this data. An Esc at its end may begin a sequence, and waits."""
        text = self._held + self._decoder.decode(data)
        self._held = ""
        while text:
            if text[0] != _ESCAPE:
                yield _NAMED.get(text[0], text[0])
                text = text[1:]
                continue
            end = _end(text)
            if end is None:
                self._held = text
                return
            sequence, text = text[:end], text[end:]
            if sequence == _ESCAPE:
                yield "escape"
            elif (name := _SEQUENCES.get(sequence[2:])) is not None:
                yield name

    def rest(self) -> Iterator[str]:
        """The Esc that has waited for a sequence, when none has followed."""
        held, self._held = self._held, ""
        if held == _ESCAPE:
            yield "escape"


def _end(text: str) -> int | None:
    """Where the sequence at the beginning ends. None if more is to come; 1 for an Esc alone."""
    if len(text) == 1:
        return None
    if text[1] == "O":
        return 3 if len(text) > 2 else None  # noqa: PLR2004 - Esc O and one letter
    if text[1] != "[":
        return 1
    for place, character in enumerate(text[2:_LONGEST], 2):
        if "@" <= character <= "~":
            return place + 1
    return _LONGEST if len(text) >= _LONGEST else None
