"""The option `multiline` of sources of byte streams."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from streamd.core.settings import DurationS, Settings, SizeBytes

JOINING: Mapping[str, str] = {
    "joined_lines": "lines that `multiline` joined to the line before them",
    "divided_messages": "times a message was divided at `max_lines` or `max_bytes` of `multiline`",
}
"""The counters of a source with the option."""
_WITHOUT_EFFECT = {"timeout": 1.0, "max_lines": 1000, "max_bytes": 65536}
"""The defaults of options that need a pattern. Without one they may be written out, but not changed."""
_Pattern = Annotated[str, StringConstraints(min_length=1)]


class MultilineSettings(Settings):
    """Joins the lines of a message; off without `start` and `continues`.

    With both patterns, a line that matches neither is a message by itself.
    """

    start: _Pattern | None = Field(
        None,
        description="joins lines: regular expression that the first line of a message matches from its "
        r"beginning, like '\d{4}-\d\d-\d\d'. Without `continues`, all other lines continue the message",
    )
    continues: _Pattern | None = Field(
        None,
        description="joins lines: regular expression that the further lines of a message match from their "
        r"beginning, like '\s' for indented ones. Without `start`, every other line begins a message",
    )
    timeout: DurationS = Field(
        "1s",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="longest time that a message waits for its next line",
    )
    max_lines: int = Field(
        1000,
        ge=2,
        description="most lines of a message. A longer one is divided: its parts are records with the flag "
        "`divided`",
    )
    max_bytes: SizeBytes = Field(
        "64KiB",  # type: ignore[assignment]  # parsed by the validator
        description="most bytes of a message of several lines, which is divided likewise. Each connection "
        "may hold so much in addition to the buffer",
    )

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        changed = [name for name, plain in _WITHOUT_EFFECT.items() if getattr(self, name) != plain]
        if changed and not self.joins:
            raise ValueError(f"{changed[0]} does nothing without start or continues")
        return self

    @property
    def joins(self) -> bool:
        """Whether lines are joined."""
        return self.start is not None or self.continues is not None
