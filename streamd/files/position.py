"""How far a file is done with, remembered across restarts."""

import json
import os
import uuid
from collections import deque
from dataclasses import dataclass, replace
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
    numbering: str = ""
    """The name of the numbers of the frames."""
    frames: int = 0
    """The number of the last frame before it."""


@dataclass(slots=True)
class _Mark:
    position: Position
    settled: bool


class ReadingProgress:
    """What was read, in order, and up to where all of it has found its fate. It numbers the frames."""

    def __init__(self) -> None:
        self.settled: Position | None = None
        """Everything before it is committed, filtered out, a dead letter or a counted loss."""
        self.savable: Position | None = None
        """The same, but for what the state of steps has seen and is not stored yet."""
        self.name = ""
        self.handed_on = 0
        self.skipped = 0
        """Frames that were not handed on, because the state of steps has seen them."""
        self._shown = 0
        self._skip_to = 0
        self._limit: int | None = None
        self._cut: int | None = None
        self._at_cut: Position | None = None
        self.stopping = False
        """From now on what is dropped was dropped by the stop, and is read again by the next start."""
        self._marks: deque[_Mark] = deque()

    def begin(self, remembered: Position | None) -> None:
        """Go on with the numbers of a position, or from 0."""
        if remembered is not None and not remembered.numbering:
            remembered = replace(remembered, numbering=uuid.uuid4().hex, frames=0)
        self.settled = self.savable = remembered
        self.name = uuid.uuid4().hex if remembered is None else remembered.numbering
        self.handed_on = 0 if remembered is None else remembered.frames

    def known(self, frames: int) -> int:
        """How many of the next so many frames are not handed on, because the state of steps has seen them."""
        known = max(0, min(frames, self._skip_to - self.handed_on))
        self.handed_on += known
        self.skipped += known
        return known

    def skip_no_more(self) -> None:
        """Frames are missing: those that follow cannot be told apart by their numbers."""
        self.handed_on = max(self.handed_on, self._skip_to)

    def waiting(self, position: Position, frames: int) -> Ack:
        """The ack of so many frames behind which `position` lies."""
        self.handed_on += frames
        mark = self._mark(position, settled=False)
        return Ack(lambda status: self._settle(mark, status))

    def again(self) -> Ack:
        """The ack of a frame that has its number already and is handed on once more."""
        self._shown += 1
        return Ack(self._was_shown)

    def _was_shown(self, _status: Status) -> None:
        self._shown -= 1

    def passed(self, position: Position) -> None:
        """`position` was reached without a frame."""
        self._mark(position, settled=True)
        self._advance()

    def skip_to(self, number: int) -> None:
        self._skip_to = number

    def hold_back(self) -> None:
        self._limit = max(self.handed_on if self.savable is None else self.savable.frames, self._skip_to)

    def cut(self, waiting: int) -> int:
        self._cut = self.handed_on - (waiting - self._shown)
        self._at_cut = self.settled
        return self._cut

    def is_settled(self, number: int) -> bool:
        return self.settled is not None and self.settled.frames >= number

    def release(self, number: int | None) -> None:
        self._limit = number
        self.savable = self.settled if number is None else self._at_cut
        self._cut = None

    def _mark(self, position: Position, *, settled: bool) -> _Mark:
        mark = _Mark(replace(position, numbering=self.name, frames=self.handed_on), settled=settled)
        self._marks.append(mark)
        return mark

    def _settle(self, mark: _Mark, status: Status) -> None:
        if self.stopping and status > Status.REJECTED:
            return
        mark.settled = True
        self._advance()

    def _advance(self) -> None:
        while self._marks and self._marks[0].settled:
            self.settled = self._marks.popleft().position
            if self._limit is None or self.settled.frames <= self._limit:
                self.savable = self.settled
            if self._cut is not None and self.settled.frames <= self._cut:
                self._at_cut = self.settled


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
        "numbering": position.numbering,
        "frames": position.frames,
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
        str(document.get("numbering", "")),
        int(document.get("frames", 0)),
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
