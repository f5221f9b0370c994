"""The codec `text`."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import Codec, Decoded
from streamd.core.errors import BadData
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings


class Text(Codec):
    """One frame is `{"message": …}`; one line end (LF or CRLF) behind it is cut off.

    Rejects what is not in the encoding (`text:utf8`, `text:encoding`) and what is `empty`.
    """

    weight: ClassVar[int] = 4

    class Config(Settings):
        """What the configuration may say of this codec."""

        encoding: Literal[
            "utf-8", "latin-1", "cp1252", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "koi8-r"
        ] = Field("utf-8", description="how the bytes are to be read")

    def __init__(self, config: Any, schema: Schema | None) -> None:
        """Raises ValueError for a schema: a message has one field only."""
        if schema is not None:
            raise ValueError("a schema needs the codec json: text makes one field, message")
        super().__init__(config, None)

    def decode(self, payloads: list[bytes], now: Now) -> Decoded:
        """All records of all frames, in order; at once where no frame has a line end or is empty."""
        if all(payloads):
            try:
                messages = b"\n".join(payloads).decode(self.config.encoding).split("\n")
            except UnicodeDecodeError:
                pass
            else:
                if len(messages) == len(payloads):
                    return Decoded([{"message": message} for message in messages])
        return super().decode(payloads, now)

    def decode_one(self, payload: bytes, now: Now) -> Record:
        """The message of one frame."""
        del now
        return read_message(payload, self.config.encoding)


def read_message(payload: bytes, encoding: str = "utf-8") -> Record:
    """`{"message": …}` of one text. Raises `BadData` `text:utf8`, `text:encoding` or `empty`."""
    body = payload
    if body[-1:] == b"\n":
        body = body[:-2] if body[-2:] == b"\r\n" else body[:-1]
    if not body:
        raise BadData("empty")
    try:
        return {"message": body.decode(encoding)}
    except UnicodeDecodeError as error:
        reason = "text:utf8" if encoding == "utf-8" else "text:encoding"
        raise BadData(reason, f"not {encoding} at byte {error.start}") from None
