"""The codec `graphite`."""

import math
import re
from collections.abc import Mapping
from typing import ClassVar

from streamd.core.batch import Record
from streamd.core.contracts import BadElement, Codec, Decoded, Frame
from streamd.core.contracts.codec import FIELD_BYTES
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.line_records import records_of_lines
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from streamd.core.timestamp import canonical, from_epoch
from streamd.core.typed_records import structs_of

_NUMBER = re.compile(rb"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?")
_NOT_FINITE = re.compile(rb"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_PLAIN_LINE = re.compile(
    r"^([^\x00-\x20]++)[ \t]++(-?[0-9]{1,99}+(?:\.[0-9]{1,99}+)?+)[ \t]++([0-9]{1,11}+)$", re.MULTILINE
)
_LONGEST_NUMBER = 400
_WITHOUT_TIME = 2
_WORDS = "a line is: path value timestamp"
_NO_TIME = re.compile(rb"-1(?:\.\d*+)?|N")
"""In place of a time. Carbon cuts the number to a whole one, so `-1.5` is `-1`."""
_TIMES_KEPT = 4096
_USUAL_TIME = 32
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(1, 6))
"""How a pickle of each protocol begins; no UTF-8 text begins so."""
_LENGTH_BYTES = 4


class Graphite(Codec[Settings]):
    """Decodes the plaintext protocol of Graphite: lines of `path value timestamp`.

    `servers.web1.load;dc=ber 1.5 1769846400` becomes `{"timestamp": "2026-01-31T08:00:00.000000Z", "path":
    "servers.web1.load", "tags": {"dc": "ber"}, "value": 1.5}`. Without tags `tags` is empty. The timestamp is
    in seconds since 1970 and may have a fraction. If it is missing, `-1` or `N`, it is the time of receipt.

    A frame may hold several lines; a bad line is rejected alone. The reasons: other than two or three words
    (`graphite:syntax`), a value that is no number (`graphite:value`), NaN or infinity (`graphite:nan`), no
    time (`graphite:timestamp`), a tag that is not `name=value` (`graphite:tags`), an empty path
    (`graphite:path`), invalid UTF-8 (`graphite:utf8`).

    The pickle protocol of Graphite is refused (`graphite:pickle`), because to read a pickle is to run code
    of its sender. Set the sender to the plaintext protocol.
    """

    weight: ClassVar[int] = 12
    brings: ClassVar[Mapping[str, str | Mapping[str, object]]] = {
        "timestamp": "timestamp", "path": "str", "tags": "json", "value": "float",
    }  # fmt: skip

    def __init__(self, config: Settings, schema: Schema | None) -> None:
        super().__init__(config, schema)
        self._times: dict[str, str] = {}
        """Canonical times by their text, because many lines share one time."""

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order; at once if each frame is one usual line."""
        done = self._decode(frames) or super().decode(frames, now)
        tags = sum([payload.count(b";") for payload in frames.payloads])
        done.size_bytes = self.size_bytes_of(frames, done.records) + FIELD_BYTES * tags
        return done

    def _decode(self, frames: Frames) -> Decoded | None:
        """The result if each frame is one usual line; otherwise None."""
        records = self._plain_records(frames)
        if records is None or self.schema is None:
            return None if records is None else Decoded(records)
        structs = structs_of(records, self.schema)
        if structs is None:
            return None
        if self.typed:
            return Decoded(structs, typed=True)
        return Decoded(list(map(self.schema.to_dict, structs)))

    def decode_frame(self, frame: Frame, now: Now) -> Record | list[Record | BadElement]:
        """The record of one line; a list for several lines."""
        del now
        payload = frame.payload
        if payload.startswith(_PICKLES) or (
            payload[:1] == b"\0" and payload.startswith(_PICKLES, _LENGTH_BYTES)
        ):
            raise BadData("graphite:pickle", "a pickle runs code of its sender: use the plaintext protocol")
        return records_of_lines(payload, lambda line: self._record(line, frame.received_at))

    def _plain_records(self, frames: Frames) -> list[Record] | None:
        """The records if every frame is one good line with a time in whole seconds; otherwise None."""
        try:
            text = b"\n".join([payload.removesuffix(b"\n") for payload in frames.payloads]).decode()
        except UnicodeDecodeError:
            return None
        found = _PLAIN_LINE.findall(text)
        if len(found) != len(frames) or text.count("\n") != len(frames) - 1 or "\ufeff" in text:
            return None
        times = {when: self._time(when) for when in {when for _, _, when in found}}
        records: list[Record] = [
            {"timestamp": times[when], "path": path, "tags": {}, "value": float(value)}
            for path, value, when in found
        ]
        if ";" in text:
            try:
                for record in records:
                    record["path"], record["tags"] = _series(record["path"])
            except BadData:
                return None
        return records

    def _record(self, line: bytes, received_at: float) -> Record:
        words = line.split()
        if len(words) not in (_WITHOUT_TIME, 3):
            raise BadData("graphite:syntax", f"{len(words)} words; {_WORDS}")
        try:
            path = words[0].decode()
        except UnicodeDecodeError as error:
            raise BadData("graphite:utf8", f"not utf-8 at byte {error.start} of the path") from None
        name, tags = _series(path)
        record: Record = {
            "timestamp": from_epoch(received_at)
            if len(words) == _WITHOUT_TIME or _NO_TIME.fullmatch(words[2])
            else self._time(words[2].decode("latin-1")),
            "path": name,
            "tags": tags,
            "value": _value(words[1]),
        }
        return record if self.schema is None else self.schema.check(record)

    def _time(self, text: str) -> str:
        """The canonical time of seconds since 1970. Raises `BadData`."""
        known = self._times.get(text)
        if known is not None:
            return known
        if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text.encode("latin-1")):
            raise BadData("graphite:timestamp", f"no number: {text[:64]!r}")
        try:
            found = canonical(int(text) if text.isdecimal() else float(text))
        except BadData as bad:
            raise BadData("graphite:timestamp", f"{text[:64]!r}: {bad.detail}") from None
        if len(self._times) >= _TIMES_KEPT:
            self._times.clear()
        if len(text) <= _USUAL_TIME:
            self._times[text] = found
        return found


def _value(text: bytes) -> float:
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        reason = "graphite:nan" if _NOT_FINITE.fullmatch(text) else "graphite:value"
        raise BadData(reason, f"no number: {text[:64].decode('utf-8', 'replace')!r}")
    value = float(text)
    if not math.isfinite(value):
        raise BadData("graphite:nan", f"beyond the range of a float: {text[:64].decode()!r}")
    return value


def _series(path: str) -> tuple[str, dict[str, str]]:
    """The path of `name;tag=value;…` and its tags. Raises `BadData`."""
    name, *tags = path.split(";")
    if not name:
        raise BadData("graphite:path", f"no path before the tags: {path[:64]!r}")
    return name, dict(map(_tag, tags))


def _tag(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise BadData("graphite:tags", f"no name=value: {text[:64]!r}")
    return name, value
