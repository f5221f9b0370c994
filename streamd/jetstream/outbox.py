"""Keeps the messages that are being published in files, for the case that the process is killed meanwhile."""

import json
import os
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from streamd.jetstream.messages import Message

_VERSION = 1
_PENDING, _DONE = b"P", b"D"
_CHECKSUM_BYTES = 8

Ends = dict[tuple[str, str], int]
"""By the sequence of a tenure and by pipeline: the last frame whose records were published."""


@dataclass(slots=True)
class Leftover:
    """What an earlier process has left."""

    ends: Ends = field(default_factory=dict)
    """With the frames of the messages in `waiting`."""
    waiting: dict[int, deque[Message]] = field(default_factory=dict)
    """Messages that may be in the stream or not, by partition."""
    put_at_wall_s: float = 0.0


class Outbox:
    """Two files that are written in turn: a kill while one is written leaves the other.

    It holds the messages of one write and the ends of all frames before. The files are not synced: they
    survive a kill of the process, not a loss of power. Each is overwritten in place, so that the kernel
    rarely has to write it to the disk.
    """

    def __init__(self, path: Path, target: Mapping[str, Any]) -> None:
        """`target` says where the messages go. What was kept for another target is not used."""
        self._paths = [path.with_name(path.name + end) for end in (".a", ".b")]
        self._target = dict(target)
        self._turn = 0
        self._file: int | None = None
        """The file of the last `put`."""

    def load(self) -> Leftover:
        """What the last complete `put` of an earlier process has kept. Raises `OSError`."""
        kept, turn = Leftover(), 0
        for path in self._paths:
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            document, payloads = _parsed(data)
            if document is not None and document["turn"] > turn:
                turn = document["turn"]
                is_ours = document["target"] == self._target
                kept = _kept(document, payloads, pending=data[:1] == _PENDING) if is_ours else Leftover()
        self._turn = max(turn, self._turn)
        return kept

    def put(self, ends: Ends, waiting: Mapping[int, Iterable[Message]], now_wall_s: float) -> None:
        """Keep the messages before they are sent. `done` has to be called before the next one.

        Raises `OSError`.
        """
        turn = self._turn + 1
        messages = [(partition, one) for partition, queue in waiting.items() for one in queue]
        document = {
            "version": _VERSION,
            "turn": turn,
            "target": self._target,
            "at": now_wall_s,
            "ends": [[*claim, last] for claim, last in ends.items()],
            "messages": [
                [partition, one.subject, one.records, len(one.payload), one.headers]
                for partition, one in messages
            ],
        }
        content = json.dumps(document).encode() + b"\n" + b"".join(one.payload for _, one in messages)
        path = self._paths[turn % 2]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.close()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        _write(self._file, _PENDING + b"%08x" % crc32(content) + content)
        self._turn = turn  # only now: what fails is written again to the same file

    def done(self) -> None:
        """The stream has acknowledged all messages of the last `put`. Raises `OSError`."""
        if self._file is not None:
            os.pwrite(self._file, _DONE, 0)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    at = 0
    while at < len(data):
        at += os.pwrite(file, view[at:], at)


def _parsed(data: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """The document and the payloads behind it; None for a file that was not written to its end.

    Behind them the file may have the rest of an older content.
    """
    head, _, rest = data[1 + _CHECKSUM_BYTES :].partition(b"\n")
    try:
        document = json.loads(head)
        size = sum(size for _, _, _, size, _ in document["messages"])
        payloads = rest[:size]
        if data[1 : 1 + _CHECKSUM_BYTES] != b"%08x" % crc32(payloads, crc32(head + b"\n")):
            return None, b""
    except (ValueError, TypeError, KeyError):
        return None, b""
    return (document, payloads) if document.get("version") == _VERSION else (None, b"")


def _kept(document: dict[str, Any], payloads: bytes, *, pending: bool) -> Leftover:
    kept = Leftover(
        {(sequence, pipeline): last for sequence, pipeline, last in document["ends"]},
        put_at_wall_s=document["at"],
    )
    at = 0
    for partition, subject, records, size, headers in document["messages"] if pending else ():
        message = Message(subject, payloads[at : at + size], records, headers)
        kept.waiting.setdefault(partition, deque()).append(message)
        at += size
    return kept
