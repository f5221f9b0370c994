"""Finds the saved position for a source: its own, or that of a source which was renamed or moved."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from streamd.core.errors import EnvironmentFault
from streamd.files.position import Position, PositionFile


class Remembered(NamedTuple):
    """The position from which a source continues."""

    position: Position | None
    saved_at_ns: int = 0
    taken_from: Position | None = None
    """The position as saved by a source with another name or path; None if it was its own."""
    written_by: str = ""
    """The name of the source that saved it."""
    set_aside: Position | None = None
    """The source's own position of another file, which stays saved for that file."""


def take_over(
    own: PositionFile, path: str, configured: frozenset[str], is_there: Callable[[Position], bool]
) -> Remembered:
    """Find the newest saved position for `path`, and rename its file to the source's own.

    Positions of other `configured` sources are not taken. `is_there` tells whether the path leads to the
    file of a position that was saved for another path. Raises `EnvironmentFault`.
    """
    name = own.path.stem
    mine = own.load()
    candidates = [] if mine is None else [(own, mine)]
    for path_of_other in sorted(own.path.parent.glob("*.json")):
        if path_of_other.stem != name and path_of_other.stem not in configured:
            other = PositionFile(path_of_other)
            try:
                position = other.load()
            except EnvironmentFault:  # its own source raises the fault when it is configured again
                continue
            if position is not None:
                candidates.append((other, position))
    fitting = [
        (file.saved_at_ns, file is own, file, position)
        for file, position in candidates
        if position.path == path or (position.inode and is_there(position))
    ]
    set_aside = None
    try:
        if mine is not None and mine.path != path and not any(is_own for _, is_own, _, _ in fitting):
            digest = hashlib.blake2b(os.fsencode(mine.path), digest_size=4).hexdigest()
            own.path.replace(own.path.with_name(f"{name}@{digest}.json"))  # no source can be called that
            set_aside = mine
        if not fitting:
            return Remembered(None, set_aside=set_aside)
        saved_at_ns, is_own, file, position = max(fitting, key=lambda found: found[:2])
        if not is_own:
            file.path.replace(own.path)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot rename the remembered position in {own.path.parent}: {error}"
        ) from None
    moved = position if not is_own or position.path != path else None
    return Remembered(
        replace(position, path=path), saved_at_ns, moved, Path(file.path).stem.partition("@")[0], set_aside
    )
