from typing import Literal

from pydantic import Field

from streamd.core.errors import BadData
from streamd.core.settings import Settings
from streamd.framing.octet_counting import Counted


class LengthPrefix(Counted):
    """A binary length of 1, 2 or 4 bytes, and that many bytes.

    A length of zero is a sign of life and no frame; it is counted as `empty_frames`.
    """

    nul_is_data = True

    class Config(Settings):
        """How the length is written."""

        size: Literal[1, 2, 4] = Field(4, description="bytes of the length, which is unsigned")
        order: Literal["big", "little"] = Field("big", description="which byte of the length comes first")
        inclusive: bool = Field(False, description="the length counts its own bytes too")

    config: Config

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
