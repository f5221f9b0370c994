"""The codec `syslog`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from streamd.codecs.text import content_of
from streamd.core.batch import Record
from streamd.core.contracts import BadFrame, Codec, Decoded, Frame
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.json_rules import BYTE_ORDER_MARK
from streamd.core.nested_bytes import nested_bytes
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from streamd.core.typed_records import is_as_brought
from streamd.syslog import any_format, contents, plain_rfc3164
from streamd.syslog.columns import MessageColumns
from streamd.syslog.message import FIELDS, SyslogMessage, record_of, records_of
from streamd.syslog.priority import FACILITIES, HIGHEST, SEVERITIES
from streamd.syslog.stamps import zone_fault

_DATA = FIELDS.index("structured_data")
_SEPARATOR = b"\x1e"
"""Between the frames of a batch that is decoded at once; a batch in which it occurs is decoded one by one."""


class Syslog(Codec["Syslog.Config"]):
    """Makes a record of each syslog message: RFC 5424, RFC 3164, and what devices send instead.

    The format is recognised for each message. The fields are `timestamp`, `facility` and `severity`
    (numbers), `hostname`, `appname`, `procid`, `msgid`, `structured_data` and `message`. A field that a
    message does not have is missing, or null with a schema. `structured_data` holds the parameters of each
    SD-ID; a parameter that occurs several times has a list of values.

    No text is lost: what is not recognised as a header is in `message`. A message without a priority from 0
    to 191 gets `default_priority`. Only an empty frame is rejected (`empty`), and at a source with `redact` a
    message whose header is not recognised (`syslog:fields`).

    A time without a year (RFC 3164) is of the year that brings it nearest to the day of receipt. One without
    an offset is read in `timezone`, also if it has the name of a zone other than UTC or GMT. One line end and
    one NUL at the end of a frame are cut off, and a byte order mark before the message.

    Cost: a message with structured data, and a usual one of RFC 3164, take 2 to 3 times as long as one of
    RFC 5424 without structured data; an unusual one of RFC 3164 takes about ten times as long.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "syslog_no_priority": "messages without a priority from 0 to 191, which got `default_priority`",
        "syslog_no_header": "messages without any header; all text behind the priority is in `message`",
        "syslog_bad_structured_data": "messages of RFC 5424 whose structured data is missing, or is invalid "
        "and stays in `message`",
        "syslog_not_utf8": "messages that are not valid UTF-8 and were read in `encoding`",
    }
    brings: ClassVar[Mapping[str, str | Mapping[str, object]]] = {
        "timestamp": "timestamp",
        "facility": {"type": "int", "required": False, "names": list(FACILITIES)},
        "severity": {"type": "int", "required": False, "names": list(SEVERITIES)},
        "hostname": "str",
        "appname": "str",
        "procid": "str",
        "msgid": "str",
        "structured_data": "json",
        "message": "str",
    }

    class Config(Settings):
        """How the texts are read."""

        timezone: str = Field("UTC", description="time zone of a time without an offset, like Asia/Shanghai")
        default_priority: int = Field(
            13,
            ge=0,
            le=HIGHEST,
            description="priority (8 * facility + severity) of a message without a valid one; 13 is "
            "user.notice, as in RFC 3164 section 4.3.3",
        )
        parse: list[contents.Content] = Field(
            [],
            description="formats inside the message whose fields are added, nested in a field of this "
            "name: cee (`@cee:` and JSON), cef, leef. The message stays as it is",
        )
        raw: bool = Field(False, description="adds the field raw: the whole text of the frame")
        encoding: Literal[
            "latin-1", "cp1252", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "koi8-r"
        ] = Field(
            "latin-1",
            description="encoding of messages that are not valid UTF-8; a byte that is invalid in it too "
            "becomes `\\xNN`",
        )

        @field_validator("timezone")
        @classmethod
        def _zone_exists(cls, timezone: str) -> str:
            if fault := zone_fault(timezone):
                raise ValueError(fault)
            return timezone

    def __init__(self, config: "Syslog.Config", schema: Schema | None) -> None:
        super().__init__(config, schema)
        self._adds_fields = bool(config.parse) or config.raw
        self._nested = ("structured_data", *config.parse)
        self._is_own = schema is not None and is_as_brought(schema, self.brings)
        self._columns = MessageColumns(config.timezone)

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order; messages of RFC 5424 by columns."""
        if self._adds_fields or (self.schema is not None and not self._is_own):
            done = super().decode(frames, now)
            nested = [record.get(name) for record in done.records for name in self._nested]
            done.size_bytes = self.size_bytes_of(frames, done.records) + sum(map(nested_bytes, nested))
            return done
        texts, rejects = self._texts(frames.payloads)
        found: list[Any] = self._columns.read(texts)
        if None in found:
            refused = {reject.index for reject in rejects}
            for index, values in enumerate(found):
                if values is None and index not in refused:
                    try:
                        found[index] = self._values(texts[index], frames.time(index))
                    except BadData as bad:
                        rejects.append(BadFrame(index, frames.payloads[index], bad.reason, bad.detail))
        origins = None
        if rejects:
            rejects.sort(key=lambda reject: reject.index)
            origins = [index for index, values in enumerate(found) if values is not None]
            found = [values for values in found if values is not None]
        if self.typed and self.schema is not None:
            done = Decoded(self.schema.of_rows(found), origins, rejects, typed=True)
        elif self.schema is not None:
            done = Decoded([dict(zip(FIELDS, values, strict=True)) for values in found], origins, rejects)
        else:
            done = Decoded(records_of(found), origins, rejects)
        nested = [data for values in found if (data := values[_DATA])]
        done.size_bytes = self.size_bytes_of(frames, done.records) + sum(map(nested_bytes, nested))
        return done

    def decode_frame(self, frame: Frame, now: Now) -> Record:
        """The record of one message."""
        del now
        text = self._text(frame.payload)
        record = record_of(self._message(text, frame.received_at))
        for content in self.config.parse:
            if (fields := contents.read(record["message"], content)) is not None:
                record[content] = fields
        if self.config.raw:
            record["raw"] = text
        return record if self.schema is None else self.schema.check(record)

    def _texts(self, payloads: Sequence[bytes]) -> tuple[list[str], list[BadFrame]]:
        """The texts of all frames; empty for a frame that is rejected."""
        together = _SEPARATOR.join(payloads)
        if all(payloads) and not _may_have_ends(together):
            with suppress(UnicodeDecodeError):
                texts = together.decode().split(_SEPARATOR.decode())
                if len(texts) == len(payloads):
                    return texts, []
        texts = []
        rejects = []
        for index, payload in enumerate(payloads):
            try:
                texts.append(self._text(payload))
            except BadData as bad:
                texts.append("")
                rejects.append(BadFrame(index, payload, bad.reason, bad.detail))
        return texts, rejects

    def _text(self, payload: bytes) -> str:
        """The text of a frame without its end. Raises `BadData` if it is empty."""
        body = content_of(payload)
        try:
            return body.decode()
        except UnicodeDecodeError:
            self.count("syslog_not_utf8")
            return body.decode(self.config.encoding, "backslashreplace")

    def _values(self, text: str, received_at: float) -> Sequence[Any]:
        """The values of one message."""
        plain = plain_rfc3164.read(text, received_at, self.config.timezone)
        return plain or self._message(text, received_at)

    def _message(self, text: str, received_at: float) -> SyslogMessage:
        config = self.config
        reading = any_format.read(text, received_at, config.timezone, config.default_priority)
        if reading.no_priority:
            self.count("syslog_no_priority")
        if reading.fault:
            if self.redacted:
                raise BadData("syslog:fields", f"{reading.fault}: its fields cannot be redacted")
            self.count(f"syslog_{reading.fault}")
        return reading.message


def _may_have_ends(together: bytes) -> bool:
    """Whether something may have to be cut off one of the frames."""
    return (
        b"\n" in together
        or b"\0" in together
        or together.startswith(BYTE_ORDER_MARK)
        or _SEPARATOR + BYTE_ORDER_MARK in together
    )
