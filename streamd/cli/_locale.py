"""Says which characters a terminal takes: those of the locale's encoding, by the rules of POSIX.

In the locale C (or POSIX), also if none is set, Python changes to UTF-8 by itself: it sets LC_CTYPE (PEP 538)
or its UTF-8 mode (PEP 540). That is good for file names, but the terminal was not asked.
"""

import codecs
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_ASCII = "ascii"
_PLAIN_LOCALES = ("C", "POSIX")


def encoding(pythons: str) -> str:
    """The encoding for text on the standard streams. `pythons` is the one that Python chose for a stream."""
    utf8_mode = bool(sys.flags.utf8_mode)
    asked = not sys.flags.ignore_environment and bool(os.environ.get("PYTHONIOENCODING", "").split(":")[0])
    asked |= utf8_mode and (
        "utf8" in sys._xoptions  # noqa: SLF001 - its documented name
        or (not sys.flags.ignore_environment and os.environ.get("PYTHONUTF8") == "1")
    )
    return pythons if asked else encoding_of(_at_the_start(), pythons, is_unusable=utf8_mode)


def encoding_of(variables: Mapping[str, str], pythons: str, *, is_unusable: bool) -> str:
    """The encoding of the locale that these environment variables name.

    The first that is not empty decides, in the order of POSIX. `is_unusable`: the host does not have this
    locale, so Python has not taken the encoding from it, and its name is all that is known.
    """
    name = next((found for key in ("LC_ALL", "LC_CTYPE", "LANG") if (found := variables.get(key))), "C")
    if name in _PLAIN_LOCALES:
        return _ASCII
    if not is_unusable:
        return pythons
    codeset = name.partition("@")[0].partition(".")[2]
    try:
        return codecs.lookup(codeset).name if codeset else _ASCII
    except LookupError:
        return _ASCII


def _at_the_start() -> Mapping[str, str]:
    """The environment with which this process started: Python may have changed its own copy since."""
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return os.environ
    pairs = (entry.partition(b"=") for entry in entries)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if name}
