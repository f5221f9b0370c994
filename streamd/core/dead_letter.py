"""A rejected frame or record, with its reason and content."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

from streamd.core.ack import Status
from streamd.core.acks import Acks
from streamd.core.batch import Batch
from streamd.core.quality import RuleKey


class Withheld(bytes):
    """A text in the place of a frame whose content may not be kept."""


@dataclass(slots=True)
class DeadLetter:
    """One rejected frame or record, with its reason.

    `payload` holds the original bytes (kind `frame`) or the decoded record (kind `record`: a dict, or a
    struct of the fast lane). `stage` is `framing`, `decode`, the name of a step, `where` or `sink`. `reason`
    is a short code from a closed set, `detail` a free text. `received_at` is the wall clock in seconds.
    """

    payload: bytes | Any
    stage: str
    reason: str
    detail: str = ""
    source: str = ""
    peer: str | None = None
    received_at: float = 0.0
    pipeline: str | None = None
    sink: str | None = None
    rules: tuple[RuleKey, ...] = ()
    """The rules that rejected it; their counts name its id."""

    @classmethod
    def at_sink(cls, sink: str, batch: Batch, index: int, reason: str, detail: str = "") -> Self:
        """The record at `index` of a batch, which the sink cannot store."""
        return cls(
            batch.record(index),
            "sink",
            reason,
            detail,
            source=batch.source,
            peer=batch.peer(index),
            received_at=batch.time(index),
            pipeline=batch.pipeline,
            sink=sink,
        )

    @property
    def kind(self) -> str:
        """`frame` for original bytes, `record` for a decoded record, `withheld` for a placeholder."""
        if isinstance(self.payload, Withheld):
            return "withheld"
        return "frame" if isinstance(self.payload, bytes) else "record"


class DeadLetterStore(Protocol):
    """The store of dead letters. Letters beyond its bounds are counted and not kept."""

    def keep(self, letters: list[DeadLetter], acks: Acks | None = None) -> None:
        """Take the letters. Never blocks.

        `acks` has a row for each letter; it settles as rejected when the letters are committed.
        """

    async def commit(self, letters: list[DeadLetter]) -> None:
        """Commit the letters before returning, for a sink that commits its rows afterwards."""


class LetterList:
    """A store in memory without bounds, for a trial or a test. What it takes counts as committed at once."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []

    def keep(self, letters: list[DeadLetter], acks: Acks | None = None) -> None:
        self.letters += letters
        if acks is not None:
            acks.settle(Status.REJECTED)

    async def commit(self, letters: list[DeadLetter]) -> None:
        self.letters += letters
