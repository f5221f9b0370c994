"""Paths as people write them, and what no program can know of them."""

import os
import re
import sys

UNNAMEABLE = f"has no name in this locale ({sys.getfilesystemencoding()}): set LC_ALL=C.UTF-8"
"""What to say of a path in characters that the locale does not have."""

_HOME = re.compile(r"~[^/]*(?=/|$)")
_VARIABLE = re.compile(r"(?:^|(?<=/))\$(?:\{\w+\}|[A-Za-z_]\w*)", re.ASCII)


def unexpanded(path: str) -> str:
    """Why a path that a shell was meant to expand is refused, and what to write; empty where it is none.

    `~` and `~name` are refused at the beginning, `$NAME` and `${NAME}` at the beginning of any part.
    """
    if _HOME.match(path):
        expanded = os.path.expanduser(path)  # noqa: PTH111 - what it cannot expand, it leaves
        if expanded == path:
            return "~ is not expanded: write the whole path, or ./~ for a file of that name"
        return f"~ is not expanded: write {expanded}"
    if _VARIABLE.search(path):
        expanded = os.path.expandvars(path)
        hint = f": write {expanded}" if not _VARIABLE.search(expanded) else ": write the whole path"
        return f"no variable of the environment is put in here{hint}"
    return ""


def unnameable(path: str) -> bool:
    """Whether the system could not be asked for a file of this name.

    Where the locale is not UTF-8 a name beyond ASCII would be one file for Python and another for SQLite.
    """
    return not path.isascii() and sys.getfilesystemencoding().lower() not in ("utf-8", "utf8")
