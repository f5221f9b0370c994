"""The settings of sources of byte streams."""

from typing import Literal

from pydantic import Field

from streamd.core.conversion_settings import EncodedInput
from streamd.core.multiline_settings import MultilineSettings
from streamd.core.settings import Component, FramingSettings, SizeBytes


class StreamSettings(EncodedInput):
    """The settings that all sources of byte streams have."""

    framing: Component = Field("newline", description="the framing, which cuts the stream into frames")  # type: ignore[assignment]  # parsed by the validator
    max_frame: SizeBytes = Field("64KiB", description="longest frame")  # type: ignore[assignment]  # parsed by the validator
    oversize: Literal["truncate", "drop", "close"] = Field(
        "truncate",
        description="what happens to a longer frame: truncate (keep max_frame bytes, with a flag), "
        "drop (and count it) or close (the connection, and count it)",
    )
    multiline: MultilineSettings = Field(
        MultilineSettings(),
        description="joins the lines of a message, such as a stack trace, before the codec: the lines of one "
        "connection or file",
    )

    @property
    def streams(self) -> bool:
        """True: a byte stream has a first frame."""
        return True

    @property
    def cut_by(self) -> FramingSettings | None:
        """The framing, which every byte stream has."""
        return FramingSettings(self.framing, self.max_frame, self.oversize)

    @property
    def joined_by(self) -> MultilineSettings | None:
        """The option `multiline`; None if it is off."""
        return self.multiline if self.multiline.joins else None
