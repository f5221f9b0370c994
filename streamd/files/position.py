"""How far a file is done with, remembered across restarts."""

import json
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamd.core.ack import Ack, Status
from streamd.core.errors import EnvironmentFault
from streamd.core.trial_paths import try_file

FINGERPRINT_BYTES = 1024
"""A file is known by so many bytes of its beginning and as many before the position; inodes are reused."""
CERTAIN_BYTES = 64
"""Files under different inodes that agree in fewer bytes than these may agree by chance."""
_VERSION = 2


@dataclass(slots=True, frozen=True)
class Sibling:
    """A file beside the followed one that has been there already while that one was at its path."""

    inode: int
    size: int
    digest: str
    """Of its beginning and of what stood before `size`; empty where it could not be read."""


@dataclass(slots=True, frozen=True)
class Around:
    """Where a file was when it was last seen at its path."""

    real_path: str
    """Its path without symbolic links."""
    siblings: tuple[Sibling, ...] = ()
    """Files under names a rotation gives. None of them can have come after it."""


@dataclass(slots=True, frozen=True)
class Position:
    """A place between two frames of one file. `inode` 0 says that no file was at `path`."""

    path: str
    inode: int
    offset: int
    head: bytes
    """The file's beginning."""
    before: bytes = b""
    """What stands directly before the offset; empty where that is not known."""
    around: Around | None = None
    """None where it is not known."""


@dataclass(slots=True)
class _Mark:
    position: Position
    settled: bool


class Progress:
    """What was read, in order, and up to where all of it has found its fate."""

    def __init__(self, settled: Position | None) -> None:
        self.settled = settled
        """Everything before it is committed, filtered out, a dead letter or a counted loss."""
        self.stopping = False
        """From now on what is dropped was dropped by the stop, and is read again by the next start."""
        self._marks: deque[_Mark] = deque()

    def waiting(self, position: Position) -> Ack:
        """The ack of frames behind which `position` lies."""
        mark = _Mark(position, settled=False)
        self._marks.append(mark)
        return Ack(lambda status: self._settle(mark, status))

    def passed(self, position: Position) -> None:
        """`position` was reached without a frame."""
        self._marks.append(_Mark(position, settled=True))
        self._advance()

    def _settle(self, mark: _Mark, status: Status) -> None:
        if self.stopping and status > Status.REJECTED:
            return
        mark.settled = True
        self._advance()

    def _advance(self) -> None:
        while self._marks and self._marks[0].settled:
            self.settled = self._marks.popleft().position


class PositionFile:
    """One position in a small file, replaced as a whole: a crash leaves the old one or the new one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Position | None:
        """The saved position; None if there is none. Raises `EnvironmentFault` if it cannot be read."""
        try:
            return _parsed(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            text = f"cannot read the remembered position {self.path}: {error}"
            raise EnvironmentFault(f"{text}: mend it, or remove it to begin as `start` says") from None

    def rehearse(self) -> None:
        """Raises `EnvironmentFault` where a position could not be saved; a start would only warn of it."""
        try:
            try_file(self.path.with_suffix(".new"))
        except OSError as error:
            raise EnvironmentFault(
                f"cannot save positions in {self.path.parent}: {error.strerror}: make it a folder that the"
                " user of the daemon may write"
            ) from None

    @property
    def saved_at_ns(self) -> int:
        """When the position was saved, by the file system's clock; 0 where none was."""
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def save(self, position: Position) -> None:
        """Make it durable. Raises `OSError`. Cost: two fsyncs."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        with new.open("w") as file:
            json.dump(_document(position), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _document(position: Position) -> dict[str, Any]:
    around = position.around
    return {
        "version": _VERSION,
        "path": position.path,
        "inode": position.inode,
        "offset": position.offset,
        "head": position.head.hex(),
        "before": position.before.hex(),
        "around": around
        and {
            "real_path": around.real_path,
            "siblings": [[sibling.inode, sibling.size, sibling.digest] for sibling in around.siblings],
        },
    }


def _parsed(text: bytes) -> Position:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise TypeError("it does not hold a position")
    version = document.get("version", 1)  # the first format had no version, no `before` and no `around`
    if version not in (1, _VERSION):
        raise ValueError(f"it was written by another version of streamd (format {version!r})")
    values = [document[key] for key in ("path", "inode", "offset", "head")]
    if [type(value) for value in values] != [str, int, int, str] or document["offset"] < 0:
        raise ValueError("it does not hold a position")
    return Position(
        document["path"],
        document["inode"],
        document["offset"],
        bytes.fromhex(document["head"]),
        bytes.fromhex(document.get("before", "")),
        _around(document.get("around")),
    )


def _around(written: Any) -> Around | None:
    if written is None:
        return None
    siblings = []
    for inode, size, digest in written["siblings"]:
        if [type(inode), type(size), type(digest)] != [int, int, str]:
            raise ValueError("it does not hold a position")
        siblings.append(Sibling(inode, size, digest))
    return Around(str(written["real_path"]), tuple(siblings))
