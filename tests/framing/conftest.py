"""Runs a framer as its owner does, and adds up what became of the stream."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from streamd import registry
from streamd.core.contracts import AnyFramer, Framer
from streamd.core.errors import FramingError
from streamd.core.frames import FlaggedFrame


@dataclass
class Outcome:
    """All that is left of a stream at its end: frames with their flags, counts, and the fault if any.

    `lost_bytes` is what was discarded before the fault or at it, and what stood unread behind it.
    """

    frames: list[tuple[bytes, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    fault: str | None = None
    lost_bytes: int = 0

    @property
    def plain(self) -> list[bytes]:
        return [frame for frame, _ in self.frames]

    @property
    def kept_bytes(self) -> int:
        return sum(map(len, self.plain))


def make_framer(name: str, max_frame: int = 64, oversize: str = "truncate", **options: Any) -> AnyFramer:
    cls = registry.load("framing", name)
    framer = cls(cls.Config(**options), max_frame, oversize)
    assert isinstance(framer, Framer)
    return framer


def run(framer: AnyFramer, pieces: Iterable[bytes]) -> Outcome:
    """Feed all pieces and the end; after a fault the pieces left are lost unread."""
    outcome = Outcome()

    def take(frames: list[bytes]) -> None:
        outcome.frames += [(bytes(f), f.flag if isinstance(f, FlaggedFrame) else "") for f in frames]
        assert 0 not in framer.counts.values()
        outcome.counts.update(framer.counts)
        framer.counts.clear()

    for piece in pieces:
        if outcome.fault is not None:
            outcome.lost_bytes += len(piece)
            continue
        try:
            take(framer.feed(piece))
        except FramingError as error:
            take(error.frames)
            outcome.fault = error.reason
            outcome.lost_bytes += error.discarded_bytes
            assert framer.waiting_bytes == 0
    take(framer.feed_eof())
    assert framer.waiting_bytes == 0
    outcome.lost_bytes += outcome.counts.pop("discarded_bytes", 0)
    return outcome


@pytest.fixture(scope="session")
def new_framer() -> Callable[..., AnyFramer]:
    return make_framer


@pytest.fixture(scope="session")
def feed_all() -> Callable[[AnyFramer, Iterable[bytes]], Outcome]:
    return run
