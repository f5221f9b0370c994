"""What a detector finds."""

from collections.abc import Callable
from typing import NamedTuple


class Span(NamedTuple):
    """The place of personal data in a text."""

    start: int
    end: int
    """The character behind it."""


Detect = Callable[[str], list[Span]]
