"""Decompresses frames and converts their text to UTF-8, before their codec."""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace

from streamd.core.contracts import AnyCodec, BadFrame, Decoded
from streamd.core.conversion_settings import FrameConversion
from streamd.core.errors import BadData, ConfigError
from streamd.core.first_frame import FirstFrame
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.inflate import inflate, inflate_zstd
from streamd.core.now import Now
from streamd.core.zstd_frames import compress_zstd
from streamd.preparing.preparing_codec import PreparingCodec

_GZIP = b"\x1f\x8b"
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zlib": zlib.compress,
    "zstd": compress_zstd,
}


class ConvertedFrames(PreparingCodec):
    """Passes converted frames to the codec of the source. Rejects have the bytes that came.

    A part of a frame that the codec rejects is converted back, so that a replay reads it like a frame.

    Cost: the converter of Python, zlib or zstd. Memory: the content of the frames of a batch, each with at
    most `most_bytes`; text in UTF-8 has at most three times the bytes of another encoding.
    """

    def __init__(self, conversion: FrameConversion, codec: AnyCodec) -> None:
        """Raises `ConfigError` if the codec reads no text, has an encoding, or may reject kept frames."""
        key = "encoding" if conversion.encoding is not None else "decompress"
        name = type(codec).__name__.lower()
        if codec.holds and codec.holds_open:
            raise ConfigError(f"the codec {name} keeps frames for frames that follow: remove {key}", (key,))
        if conversion.encoding is not None and not codec.reads_text:
            raise ConfigError(f"the codec {name} reads no text: remove encoding", ("encoding",))
        if conversion.encoding is not None and "encoding" in codec.config.model_fields_set:
            raise ConfigError(
                f"the codec {name} gets UTF-8 from the encoding of the source: remove encoding in codec",
                ("codec", "encoding"),
            )
        super().__init__(conversion, codec)
        self._conversion = conversion

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """The records of the converted frames."""
        payloads: list[bytes] = []
        rejects: list[BadFrame] = []
        for index, payload in enumerate(frames.payloads):
            try:
                content = self._converted(payload)
            except BadData as fault:
                rejects.append(BadFrame(index, payload, fault.reason, fault.detail))
            else:
                payloads.append(_marked(content, payload))
        if not rejects:
            return self._decoded(frames, payloads, now)
        failed = [bad.index for bad in rejects]
        rest = sorted(set(range(len(frames))).difference(failed))
        good, wrong = frames.sorted_out([rest, failed])
        done = self._decoded(good, payloads, now) if rest else Decoded([], [])
        before = good if done.frames is None else done.frames
        for place, bad in enumerate(rejects, len(before)):
            bad.index = place
        return replace(
            done,
            origins=list(range(len(done.records))) if done.origins is None else done.origins,
            rejects=[*done.rejects, *rejects],
            frames=Frames.merge([before, wrong]) if rest else wrong,
        )

    def _decoded(self, frames: Frames, payloads: list[bytes], now: Now) -> Decoded:
        """The records of the converted payloads of these frames."""
        converted = Frames(
            payloads, frames.peers, frames.received_at, acks=frames.acks, flagged=frames.flagged
        )
        came = {id(new): old for new, old in zip(payloads, frames.payloads, strict=True)}
        done = self._codec.decode(converted, now)
        for bad in done.rejects:
            if bad.element:
                bad.payload = self._as_it_came(bad.payload)
            elif done.frames is None:
                bad.payload = frames.payloads[bad.index]
            else:
                bad.payload = came.get(id(done.frames.payloads[bad.index]), bad.payload)
        if done.size_bytes is None:
            done.size_bytes = self._codec.size_bytes_of(converted, done.records)
        return done

    def _converted(self, payload: bytes) -> bytes:
        """The content of a frame. Raises `BadData`."""
        if self._conversion.compression == "zstd":
            payload = inflate_zstd(payload, self._conversion.most_bytes)
        elif self._conversion.compression is not None:
            if payload.startswith(_GZIP) != (self._conversion.compression == "gzip"):
                raise BadData("compressed:syntax", f"no {self._conversion.compression}")
            payload = inflate(payload, self._conversion.most_bytes)
        if self._conversion.encoding is not None:
            try:
                payload = payload.decode(self._conversion.encoding).encode()
            except UnicodeError as error:
                raise BadData("encoding:syntax", _fault_of(error)) from None
        return payload

    def _as_it_came(self, part: bytes) -> bytes:
        """A part of a frame, encoded and compressed like a frame of the source."""
        if self._conversion.encoding is not None:
            try:
                part = part.decode().encode(self._conversion.encoding)
            except UnicodeError:  # the codec has cut a character or added one
                return part
        compress = _COMPRESS.get(self._conversion.compression or "")
        return part if compress is None else compress(part)


def _marked(content: bytes, payload: bytes) -> bytes:
    """The content of a frame, of the same kind as its payload."""
    if isinstance(payload, FlaggedFrame):
        return FlaggedFrame(content, payload.flag)
    if isinstance(payload, FirstFrame):
        return type(payload)(content)
    return content


def _fault_of(error: UnicodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not {error.encoding} at byte {error.start}"
    return "half of a surrogate pair"
