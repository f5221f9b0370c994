"""The position up to which a file is done with, kept across restarts."""

import hashlib
import itertools
import json
import os
import uuid
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from streamd.core.ack import Ack, Status
from streamd.core.errors import EnvironmentFault
from streamd.core.tenure import InputPart, Tenure
from streamd.core.trial_paths import try_file

FINGERPRINT_BYTES = 1024
"""A file is recognised by this many bytes at its beginning and before the position, because inodes are
reused."""
CERTAIN_BYTES = 64
"""Files with different inodes that have fewer equal bytes than this may be equal by chance."""
_VERSION = 2
_DIGEST_BYTES = 16


@dataclass(slots=True, frozen=True)
class Digest:
    """Stands for bytes that may not be stored, because the source redacts its data."""

    size: int
    hexdigest: str

    @classmethod
    def of(cls, data: "bytes | Digest") -> "Digest":
        """The digest of the bytes."""
        if isinstance(data, Digest):
            return data
        return cls(len(data), hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest())

    def __len__(self) -> int:
        """The number of the bytes."""
        return self.size


def equal(known: bytes | Digest, data: bytes) -> bool:
    """Whether `data` are the known bytes."""
    return known == (data if isinstance(known, bytes) else Digest.of(data))


@dataclass(slots=True, frozen=True)
class Sibling:
    """A rotated file that existed beside the followed one while that one was at its path."""

    inode: int
    size: int
    digest: str
    """Digest of its beginning and of the bytes before `size`; empty if it could not be read."""


@dataclass(slots=True, frozen=True)
class Around:
    """The surroundings of a file when it was last seen at its path."""

    real_path: str
    """Its path without symbolic links."""
    siblings: tuple[Sibling, ...] = ()
    """Files with names that a rotation gives. All of them are older than the file."""


@dataclass(slots=True, frozen=True)
class Position:
    """An offset between two frames of one file. `inode` is 0 if there was no file at `path`."""

    path: str
    inode: int
    offset: int
    head: bytes | Digest
    """The file's first bytes, at most `FINGERPRINT_BYTES`."""
    before: bytes | Digest = b""
    """The bytes directly before the offset, at most `FINGERPRINT_BYTES`; empty if unknown."""
    around: Around | None = None
    """None if unknown."""
    numbering: str = ""
    """The name of the sequence that numbers the frames."""
    frames: int = 0
    """The number of the last frame before the offset."""

    def without_content(self) -> "Position":
        """The position with digests instead of bytes of the file."""
        return replace(self, head=Digest.of(self.head), before=Digest.of(self.before))


@dataclass(slots=True)
class _Mark:
    position: Position
    settled: bool


class ReadingProgress:
    """Numbers the frames read, and tracks the position up to which all of them are settled.

    It is the source's `Numbering`.
    """

    def __init__(self) -> None:
        self.settled: Position | None = None
        """All frames before it are committed, filtered out, dead letters or counted as lost."""
        self.savable: Position | None = None
        """`settled`, but not beyond the frames that the stored state of steps includes."""
        self.name = ""
        self.handed_on = 0
        self.framing = ""
        self.framing_since = 0
        self.tenure = Tenure("", is_shared=False)
        self._ends: list[int] = []
        """The frames, ascending, with which a part has to end."""
        self.skipped = 0
        """Frames that were not handed on, because the state of steps already includes them."""
        self._shown = 0
        self._skip_to = 0
        self._limit: int | None = None
        self._cut: int | None = None
        self._at_cut: Position | None = None
        self.stopping = False
        """True once the source stops: frames dropped from then on are not settled, so they are read again."""
        self._marks: deque[_Mark] = deque()

    def begin(self, remembered: Position | None) -> None:
        """Continue the numbers of a position, or begin a new sequence at 0."""
        if remembered is not None and not remembered.numbering:
            remembered = replace(remembered, numbering=uuid.uuid4().hex, frames=0)
        self.settled = self.savable = remembered
        self.name = uuid.uuid4().hex if remembered is None else remembered.numbering
        self.handed_on = self.framing_since = 0 if remembered is None else remembered.frames
        self.tenure = Tenure(f"{self.name}:{self.framing}", is_shared=False)

    def cut_by(self, framing: str) -> None:
        """The frames after those handed on are cut by the framer with this digest."""
        if framing != self.framing:
            self.framing, self.framing_since = framing, self.handed_on
            # The number tells these frames from those of a later run that begins with this framing.
            self.tenure = Tenure(f"{self.name}:{framing}:{self.handed_on}", is_shared=False)

    def divide_behind(self, number: int) -> None:
        self._ends = sorted({*self._ends, number})

    def parts(self, frames: int) -> list[int]:
        """The number of frames of each part of the next `frames` frames."""
        first, stop = self.handed_on, self.handed_on + frames
        self._ends = [end for end in self._ends if end > first]
        ends = [first, *(end for end in self._ends if end < stop), stop]
        return [end - start for start, end in itertools.pairwise(ends)]

    @property
    def is_skipping(self) -> bool:
        """Whether the state of steps includes frames that follow, which the present framing has numbered."""
        return self.handed_on < self._skip_to

    def known(self, frames: int) -> int:
        """How many of the next `frames` frames to skip, because the state of steps already includes them."""
        known = max(0, min(frames, self._skip_to - self.handed_on))
        self.handed_on += known
        self.skipped += known
        return known

    def stop_skipping(self) -> None:
        """Skip no more frames: some are missing, so the numbers of later frames no longer match."""
        self.handed_on = max(self.handed_on, self._skip_to, *self._ends[-1:])

    def waiting(self, position: Position, frames: int) -> Ack:
        """The ack of the next `frames` frames, which end at `position`."""
        part = InputPart(self.tenure, self.handed_on + 1, frames=frames)
        self.handed_on += frames
        mark = self._mark(position, settled=False)
        return Ack(lambda status: self._settle(mark, status), part)

    def again(self) -> Ack:
        """The ack of a frame that is handed on once more and gets no new number."""
        self._shown += 1
        return Ack(self._was_shown)

    def _was_shown(self, _status: Status) -> None:
        self._shown -= 1

    def passed(self, position: Position) -> None:
        """Record that `position` was reached without a frame."""
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
    """Saves one position in a small file, replaced atomically: a crash leaves the old or the new one."""

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
            raise EnvironmentFault(f"{text}: repair it, or remove it to begin as `start` says") from None

    def rehearse(self) -> None:
        """Raise `EnvironmentFault` if a position could not be saved. A start would only warn of that."""
        try:
            try_file(self.path.with_suffix(".new"))
        except OSError as error:
            raise EnvironmentFault(
                f"cannot save positions in {self.path.parent}: {error.strerror}: make it a folder that the"
                " user of the daemon may write"
            ) from None

    @property
    def saved_at_ns(self) -> int:
        """When the position was saved (mtime, nanoseconds since 1970); 0 if none was saved."""
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def save(self, position: Position) -> None:
        """Save the position durably. Raises `OSError`. Costs two fsyncs."""
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
        "head": _written(position.head),
        "before": _written(position.before),
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
    if [type(value) for value in values[:3]] != [str, int, int] or document["offset"] < 0:
        raise ValueError("it does not hold a position")
    return Position(
        document["path"],
        document["inode"],
        document["offset"],
        _read(document["head"]),
        _read(document.get("before", "")),
        _around(document.get("around")),
        str(document.get("numbering", "")),
        int(document.get("frames", 0)),
    )


def _written(content: bytes | Digest) -> str | list[int | str]:
    return content.hex() if isinstance(content, bytes) else [content.size, content.hexdigest]


def _read(written: Any) -> bytes | Digest:
    if isinstance(written, str):
        return bytes.fromhex(written)
    size, digest = written
    if [type(size), type(digest)] != [int, str] or size < 0:
        raise ValueError("it does not hold a position")
    return Digest(size, digest)


def _around(written: Any) -> Around | None:
    if written is None:
        return None
    siblings = []
    for inode, size, digest in written["siblings"]:
        if [type(inode), type(size), type(digest)] != [int, int, str]:
            raise ValueError("it does not hold a position")
        siblings.append(Sibling(inode, size, digest))
    return Around(str(written["real_path"]), tuple(siblings))
