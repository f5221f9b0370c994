"""How far a file is done with, remembered across restarts."""

import json
import os
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

from streamd.core.ack import Ack, Status
from streamd.core.errors import EnvironmentFault
from streamd.core.trial_paths import try_file

HEAD_BYTES = 256
"""Of its beginning a file is known by, beside its inode: inodes are given away again."""


@dataclass(slots=True, frozen=True)
class Position:
    """A place between two frames of one file. `head` is the file's beginning, in hexadecimal digits."""

    path: str
    inode: int
    offset: int
    head: str


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
        """What was saved; None where nothing was. Raises `EnvironmentFault` where it cannot be read."""
        try:
            return _parsed(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError) as error:
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
            json.dump(asdict(position), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _parsed(text: bytes) -> Position:
    position = Position(**json.loads(text))
    values = (position.path, position.inode, position.offset, position.head)
    if [type(value) for value in values] != [str, int, int, str] or position.offset < 0:
        raise ValueError("it does not hold a position")
    bytes.fromhex(position.head)
    return position
