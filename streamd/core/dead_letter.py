"""A frame or record that could not be used, with the reason and what it was."""

from dataclasses import dataclass
from typing import Any, Protocol

from streamd.core.acks import Acks


@dataclass(slots=True)
class DeadLetter:
    """One reject on its way to the dead letters.

    `payload` is the original bytes (kind `frame`) or the record after decode (kind `record`: a dict, or a
    struct of the fast lane). `stage` is `framing`, `decode`, the step's name, `where` or `sink`; `reason` a
    short code from a closed set; `detail` free text. `received_at` is the wall clock in seconds.
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

    @property
    def kind(self) -> str:
        """`frame` for bytes as they came, `record` for what a codec had made of them."""
        return "frame" if isinstance(self.payload, bytes) else "record"


class DeadLetterOffice(Protocol):
    """Where rejects are kept. What is over the bounds is counted and not kept."""

    def keep(self, letters: list[DeadLetter], acks: Acks | None = None) -> None:
        """Take the letters now. Never blocks.

        `acks` has a row for each; they are settled as rejected once the letters are committed.
        """

    async def commit(self, letters: list[DeadLetter]) -> None:
        """Return when the letters are committed, for a sink that must know so before it commits its rows."""
