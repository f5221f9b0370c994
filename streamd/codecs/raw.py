"""The codec `raw`."""

from typing import ClassVar

from streamd.core.batch import Record
from streamd.core.contracts import Codec, Decoded
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings


class Raw(Codec[Settings]):
    """Makes `{"data": bytes}` of a frame. An empty frame is rejected (`empty`)."""

    weight: ClassVar[int] = 4

    def __init__(self, config: Settings, schema: Schema | None) -> None:
        """Raises ValueError if there is a schema: the record has one field only."""
        if schema is not None:
            raise ValueError("a schema needs the codec json: raw makes one field, data")
        super().__init__(config, None)

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order."""
        if all(frames.payloads):
            return Decoded([{"data": bytes(payload)} for payload in frames.payloads])
        return super().decode(frames, now)

    def decode_one(self, payload: bytes, now: Now) -> Record:
        """The bytes of one frame."""
        del now
        if not payload:
            raise BadData("empty")
        return {"data": bytes(payload)}  # a flagged frame is a subclass of bytes; sinks get plain bytes
