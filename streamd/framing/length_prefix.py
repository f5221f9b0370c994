from typing import Literal

from pydantic import Field

from streamd.core.counted import Counted
from streamd.core.errors import BadData
from streamd.core.settings import Settings


class LengthPrefix(Counted["LengthPrefix.Config"]):
    """Cuts frames that follow their length as a binary number of 1, 2 or 4 bytes.

    A length of 0 is a keep-alive, not a frame; it is counted as `empty_frames`.
    """

    nul_is_data = True
    cuts_lines = False

    class Config(Settings):
        """The format of the length."""

        size: Literal[1, 2, 4] = Field(4, description="size of the length in bytes; it is unsigned")
        order: Literal["big", "little"] = Field("big", description="byte order of the length")
        inclusive: bool = Field(False, description="whether the length includes its own bytes")

    def read_prefix(self, data: bytes, at: int) -> tuple[int, int] | None:
        body = at + self.config.size
        if body > len(data):
            return None
        length = int.from_bytes(data[at:body], self.config.order)
        if self.config.inclusive:
            length -= self.config.size
            if length < 0:
                raise BadData("length:too_short")
        return body, length
