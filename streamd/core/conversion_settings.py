"""The options `encoding` and `decompress`: what is done with the bytes of a frame before the codec."""

import codecs
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from streamd.core.settings import SizeBytes, SourceSettings

_NO_CHARACTER_SETS = frozenset({"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"})
"""Codecs of Python that take text apart in other ways; some of them take quadratic time."""
_COUNTED = frozenset({"length_prefix", "octet_counting"})
"""Framings that do not look at the content of a frame."""
_ASCII = bytes(range(128))
_MOST_BYTES = 256 << 10


def _character_set(name: str) -> str:
    if not _is_character_set(name):
        raise ValueError(
            f"unknown encoding {name!r}; use the name of a character set, such as latin-1, cp1252, utf-16 or "
            "shift_jis"
        )
    return name


def _is_character_set(name: str) -> bool:
    try:
        found = codecs.lookup(name)
        b" ".decode(name)  # raises LookupError for Python's codecs of bytes, such as base64
    except UnicodeDecodeError:  # of an encoding with several bytes for each character
        pass
    except (LookupError, ValueError):
        return False
    return found.name.replace("-", "_") not in _NO_CHARACTER_SETS


def keeps_ascii(encoding: str) -> bool:
    """Whether the characters of ASCII have the same bytes in the encoding, so that LF ends a line."""
    try:
        return _ASCII.decode(encoding) == _ASCII.decode("ascii")
    except UnicodeError:
        return False


class FrameConversion(NamedTuple):
    """What is done with the bytes of a frame: first it is decompressed, then its text becomes UTF-8."""

    encoding: str | None = None
    compression: str | None = None
    most_bytes: int = 0
    """Most bytes of the content of a compressed frame."""


class EncodedInput(SourceSettings):
    """The settings of sources whose frames may be text in another encoding than UTF-8."""

    encoding: Annotated[str, AfterValidator(_character_set)] | None = Field(
        None,
        description="character set of the frames, like latin-1, cp1252, shift_jis or utf-16, by its name in "
        "Python. The codec gets UTF-8. A frame that is no text of this character set is rejected "
        "(`encoding:syntax`). Default: frames are not converted",
    )

    @model_validator(mode="after")
    def _lines_are_found(self) -> Self:
        if self.encoding is None or keeps_ascii(self.encoding):
            return self
        if self.joined_by is not None:
            raise ValueError(
                f'multiline cannot read encoding = "{self.encoding}", in which characters of ASCII have '
                "other bytes: remove multiline"
            )
        if self.cut_by is not None and self.cut_by.framing.type not in _COUNTED:
            raise ValueError(
                f'the framing {self.cut_by.framing.type} cannot cut encoding = "{self.encoding}", in which '
                "characters of ASCII have other bytes: let the sender convert to utf-8, or use the framing "
                "octet_counting or length_prefix, or datagrams without framing"
            )
        return self

    @property
    def converted_by(self) -> FrameConversion | None:
        """The conversion of each frame; None if frames are not converted."""
        return None if self.encoding is None else FrameConversion(self.encoding)


class CompressedInput(EncodedInput):
    """The settings of sources that may receive what is compressed: streams, or datagrams and messages."""

    decompress: Literal["gzip", "zlib", "zstd"] | None = Field(
        None,
        description="compression of each connection, or of each datagram or message (nats). A datagram or"
        " message that is not compressed so is rejected (`compressed:syntax`), a connection is closed"
        " (`framing_errors`). zstd needs the extra `zstd` before Python 3.14. Default: nothing is"
        " decompressed",
    )

    @property
    def inflated_by(self) -> str | None:
        """The compression of connections, which are decompressed before the framing."""
        return self.decompress if self.streams else None


class CompressedDatagrams(CompressedInput):
    """The settings of sources whose datagrams or messages may be compressed."""

    max_inflated: SizeBytes = Field(
        "256KiB",
        ge=1,
        validate_default=True,
        description="most bytes of the content of a compressed datagram or message; one with more is rejected"
        " (`compressed:size`); needs decompress. Hostile senders can make the daemon use so much memory for"
        " each frame of a batch (`daemon.max_batch`)",
    )

    @model_validator(mode="after")
    def _compresses_whole_datagrams(self) -> Self:
        if "max_inflated" in self.model_fields_set and self.max_inflated != _MOST_BYTES:
            if self.decompress is None:
                raise ValueError("max_inflated needs decompress: without it nothing is decompressed")
            if self.streams:
                raise ValueError("max_inflated is for datagrams: a stream is decompressed in small pieces")
        if self.decompress is not None and not self.streams and self.cut_by is not None:
            raise ValueError(
                "a framing cuts a datagram or message before it is decompressed: remove framing (nats: write "
                '"none"); codecs such as json find the lines inside'
            )
        return self

    @property
    def converted_by(self) -> FrameConversion | None:
        """The conversion of each frame; None if frames are not converted."""
        compression = None if self.streams else self.decompress
        if self.encoding is None and compression is None:
            return None
        return FrameConversion(self.encoding, compression, self.max_inflated)
