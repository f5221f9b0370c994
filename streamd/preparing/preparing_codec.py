"""The common base of what prepares frames for the codec of a source."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

from streamd.core.contracts import AnyCodec, Codec, Decoded
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.peer import Peer


class _PreparingSettings(NamedTuple):
    """What a reload compares."""

    settings: Any
    codec: type
    config: Any


class PreparingCodec(Codec[Any]):
    """Prepares frames in `decode`, and leaves everything else to the codec of the source."""

    def __init__(self, settings: Any, codec: AnyCodec) -> None:
        """`settings`: those of the preparation."""
        self._codec = codec
        super().__init__(_PreparingSettings(settings, type(codec), codec.config), codec.schema)
        self.counters = codec.counters  # type: ignore[misc]  # its own
        self.counts = codec.counts
        self.reads_text = codec.reads_text  # type: ignore[misc]  # its own
        self.weight = codec.weight  # type: ignore[misc]  # its own

    @property
    def alarming(self) -> frozenset[str]:  # type: ignore[override]
        """The alarming reasons of the codec, which may change in `place_behind`."""
        return self._codec.alarming

    @property
    def holds(self) -> bool:  # type: ignore[override]
        """Whether the codec keeps frames, which may change in `place_behind`."""
        return self._codec.holds

    @property
    def holds_open(self) -> bool:  # type: ignore[override]
        """Whether the acks of the frames that the codec holds stay open."""
        return self._codec.holds_open

    @property
    def holds_last(self) -> bool:  # type: ignore[override]
        """Whether the frames that the codec holds are the last ones."""
        return self._codec.holds_last

    @property
    def needs_first(self) -> bool:  # type: ignore[override]
        """Whether the codec needs the first frame of a file again."""
        return self._codec.needs_first

    @property
    def typed(self) -> bool:
        """Whether the codec makes structs."""
        return self._codec.typed

    @typed.setter
    def typed(self, value: bool) -> None:
        self._codec.typed = value

    @property
    def redacted(self) -> bool:
        """Whether the source redacts records by field."""
        return self._codec.redacted

    @redacted.setter
    def redacted(self, value: bool) -> None:
        self._codec.redacted = value

    def load(self, base_dir: Path) -> None:
        """Read the files of the codec."""
        self._codec.load(base_dir)

    def is_current(self) -> bool:
        """Whether the files of the codec are unchanged."""
        return self._codec.is_current()

    def place_behind(self, *, streams: bool, cut: bool) -> None:
        """Tell the codec how the source makes frames."""
        self._codec.place_behind(streams=streams, cut=cut)

    @abstractmethod
    def decode(self, frames: Frames, now: Now) -> Decoded:
        """The records of the prepared frames."""

    def forget(self, peer: Peer, now: Now) -> Decoded | None:
        """What the codec has kept of a connection that has ended."""
        return self._codec.forget(peer, now)

    def tick(self, now: Now) -> Decoded | None:
        """What is due in the codec."""
        return self._codec.tick(now)

    def next_deadline(self) -> float | None:
        """When something is due in the codec."""
        return self._codec.next_deadline()

    def can_adopt(self, old: AnyCodec) -> bool:
        """Whether the codec can go on with what the other one has kept."""
        return self._codec.can_adopt(self._prepared_by(old))

    def adopt(self, old: AnyCodec) -> None:
        """Take over what the other codec has kept."""
        self._codec.adopt(self._prepared_by(old))

    def finish(self, now: Now) -> Decoded | None:
        """What the codec has kept."""
        return self._codec.finish(now)

    def _prepared_by(self, old: AnyCodec) -> AnyCodec:
        """The codec of the source, of which `old` may be the preparation."""
        return old._codec if isinstance(old, type(self)) else old  # noqa: SLF001 - of the same class
