"""Checks of paths in the configuration: shell expansions, and names that the locale cannot express."""

import os
import re
import sys

UNNAMEABLE = f"has no name in this locale ({sys.getfilesystemencoding()}): set LC_ALL=C.UTF-8"
"""The refusal of a path with characters that the locale does not have."""

_HOME = re.compile(r"~[^/]*(?=/|$)")
_VARIABLE = re.compile(r"(?:^|(?<=/))\$(?:\{\w+\}|[A-Za-z_]\w*)", re.ASCII)


def unexpanded(path: str) -> str:
    """Why a path with a shell expansion is refused, and the path to write; empty for other paths.

    `~` and `~name` are refused at the beginning, `$NAME` and `${NAME}` at the beginning of any part.
    """
    if _HOME.match(path):
        expanded = os.path.expanduser(path)  # noqa: PTH111 - leaves an unknown user unchanged
        if expanded == path:
            return "~ is not expanded: write the whole path, or ./~ for a file of that name"
        return f"~ is not expanded: write {expanded}"
    if _VARIABLE.search(path):
        expanded = os.path.expandvars(path)
        hint = f": write {expanded}" if not _VARIABLE.search(expanded) else ": write the whole path"
        return f"variables of the environment are not expanded{hint}"
    return ""


def unnameable(path: str) -> bool:
    """Whether the locale cannot express the name of this file.

    If the locale is not UTF-8, Python and SQLite open different files for a name beyond ASCII.
    """
    return not path.isascii() and sys.getfilesystemencoding().lower() not in ("utf-8", "utf8")
