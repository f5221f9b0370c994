"""What the terminal, or the file in its place, can show."""

import os
import shutil
from dataclasses import dataclass
from typing import TextIO

_PLAIN_WIDTH = 100
"""The width without a terminal."""
_LEAST_WIDTH = 20
"""The least width of a chart: an axis with its labels, and room for a line."""
_LEAST_HEIGHT = 6
_MOST_HEIGHT = 24
_BESIDE = 4
"""Lines of the terminal that are left for the prompt and the command."""


@dataclass(frozen=True)
class Screen:
    """The width and height of the whole chart in characters, and whether it may use colours and Unicode."""

    width: int = 80
    height: int = 20
    colour: bool = False
    unicode: bool = True


def screen_of(out: TextIO) -> Screen:
    """The screen of this output. Colours are for terminals only, and NO_COLOR turns them off."""
    terminal = out.isatty()
    asked = terminal or os.environ.get("COLUMNS", "").isdigit()
    size = shutil.get_terminal_size((_PLAIN_WIDTH, _MOST_HEIGHT)) if asked else (_PLAIN_WIDTH, _MOST_HEIGHT)
    return Screen(
        width=max(_LEAST_WIDTH, size[0]),
        height=min(_MOST_HEIGHT, max(_LEAST_HEIGHT, size[1] - _BESIDE)),
        colour=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        unicode=has_characters(out, "⣿█▏┤─"),
    )


SIGNS = {"·": "-", "×": "x", "µ": "u", "…": "...", "−": "-", "→": "->", "≤": "<=", "≥": ">="}
"""Signs in sentences of streamd, and what stands for them in ASCII."""


def plain(out: TextIO, text: str) -> str:
    """The text with ASCII for those signs that the encoding of the output does not have."""
    for sign, instead in SIGNS.items():
        if sign in text and not has_characters(out, sign):
            text = text.replace(sign, instead)
    return text


def has_characters(out: TextIO, characters: str) -> bool:
    """Whether the encoding of the output has these characters."""
    try:
        characters.encode(out.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
