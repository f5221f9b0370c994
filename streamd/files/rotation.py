"""Parses the names that rotations give to files, to find which files belong together and their order."""

import re
from typing import NamedTuple

_ROTATED = re.compile(r"(?P<part>[-._]\d[-._\dT]*)(?P<compressed>\.(?:gz|bz2|xz|zst|lz4))?", re.ASCII)
"""The part that a rotation adds to a name: a number or a date, and perhaps a compressed file's ending."""
_COUNTER = re.compile(r"[-._](0|[1-9]\d{0,4})", re.ASCII)
_DIGITS = re.compile(r"\d+", re.ASCII)


class Rotated(NamedTuple):
    """The parsed name of a rotated file."""

    scheme: str
    """Names of one scheme can be compared: `.1` and `.2`, or `-20260130` and `-20260131`."""
    order: tuple[int, ...]
    """Within a scheme, a later file has a greater order."""
    plain: str
    """The name without the ending of a compressed file."""
    compressed: bool
    usual: bool
    """True if logrotate or a logging library gives such names. `node-2` may be another program's file."""


def rotated(name: str, base: str) -> Rotated | None:
    """Parse the name of a rotated file of `base`. None if no rotation of `base` gives such a name.

    The number or date comes last (`app.log.1`, `app.log-20260131.gz`) or before the extension
    (`app-20260131.log`). A small number counts rotations, so a greater number means an older file. More
    digits or parts are a date, a time or a padded number, of which a greater one means a newer file.
    """
    found = _ROTATED.fullmatch(name, len(base)) if name.startswith(base) else None
    extension = ""
    if found is None:
        stem, dot, extension = base.rpartition(".")
        if not stem or not name.startswith(stem):
            return None
        extension = dot + extension
        compressed = re.search(r"\.(?:gz|bz2|xz|zst|lz4)\Z", name)
        plain = name[: compressed.start()] if compressed else name
        part = plain[len(stem) :].removesuffix(extension)
        if len(plain) - len(stem) - len(part) != len(extension):
            return None
        found = _ROTATED.fullmatch(part + (compressed[0] if compressed else ""))
        if found is None:
            return None
    part = found["part"]
    plain = name.removesuffix(found["compressed"] or "")
    if _COUNTER.fullmatch(part):
        scheme, usual = f"{part[0]}n{extension}", part[0] == "."
        order: tuple[int, ...] = (-int(part[1:]),)
    else:
        numbers = _DIGITS.findall(part)
        scheme = _DIGITS.sub("D", part) + extension
        order = tuple(map(int, numbers))
        usual = len(numbers[0]) >= 6 or (len(numbers[0]) == 4 and len(numbers) >= 3)  # noqa: PLR2004 - digits of a date
    return Rotated(scheme, order, plain, found["compressed"] is not None, usual)
