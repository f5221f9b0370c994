"""The codec `text`."""

from typing import ClassVar, Literal

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import Codec, Decoded
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.json_rules import BYTE_ORDER_MARK
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings


class Text(Codec["Text.Config"]):
    """Makes `{"message": …}` of a frame, without one line end (LF or CRLF) and one NUL at its end.

    The NUL is the end of a C string; it may be before or after the line end. A UTF-8 byte order mark before
    the frame is skipped too. Line ends and NULs inside the text are content. So a datagram of several lines
    is one message, unless its source has the framing `newline`.

    A frame that is not valid in the encoding is rejected (`text:utf8`, `text:encoding`). A frame that is
    empty or holds only line ends and NULs is rejected too (`empty`).
    """

    weight: ClassVar[int] = 4

    class Config(Settings):
        """The encoding of the text."""

        encoding: Literal[
            "utf-8", "latin-1", "cp1252", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "koi8-r"
        ] = Field("utf-8", description="encoding of the bytes")

    def __init__(self, config: "Text.Config", schema: Schema | None) -> None:
        """Raises ValueError if there is a schema: the record has one field only."""
        if schema is not None:
            raise ValueError("a schema needs the codec json: text makes one field, message")
        super().__init__(config, None)

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order; decoded at once if no frame is empty or loses its end."""
        payloads = frames.payloads
        if all(payloads):
            try:
                text = b"\n".join(payloads).decode(self.config.encoding)
            except UnicodeDecodeError:
                pass
            else:
                messages = text.split("\n")
                if len(messages) == len(payloads) and "\0" not in text and "\ufeff" not in text:
                    return Decoded([{"message": message} for message in messages])
        return super().decode(frames, now)

    def decode_one(self, payload: bytes, now: Now) -> Record:
        """The message of one frame."""
        del now
        return read_message(payload, self.config.encoding)


_BLANK = b"\r\n\0"


def _without_line_end(body: bytes) -> bytes:
    if body[-1:] == b"\n":
        return body[:-2] if body[-2:] == b"\r\n" else body[:-1]
    return body


def content_of(payload: bytes, encoding: str = "utf-8") -> bytes:
    """A frame without one line end and one NUL at its end, and without a byte order mark before it.

    Raises `BadData` with `empty`.
    """
    body = _without_line_end(payload)
    if body[-1:] == b"\0":
        body = body[:-1]
        if body[-1:] == b"\n" and len(body) == len(payload) - 1:
            body = _without_line_end(body)
    if encoding == "utf-8":
        body = body.removeprefix(BYTE_ORDER_MARK)
    if not body or (body[0] in _BLANK and payload[-1] in b"\n\0" and not body.strip(_BLANK)):
        raise BadData("empty")
    return body


def read_message(payload: bytes, encoding: str = "utf-8") -> Record:
    """`{"message": …}` of one frame. Raises `BadData` with `text:utf8`, `text:encoding` or `empty`."""
    body = content_of(payload, encoding)
    try:
        return {"message": body.decode(encoding)}
    except UnicodeDecodeError as error:
        reason = "text:utf8" if encoding == "utf-8" else "text:encoding"
        raise BadData(reason, f"not {encoding} at byte {error.start}") from None
