"""Time as an argument: the edges read the clock, the logic is handed the result."""

from typing import NamedTuple


class Now(NamedTuple):
    """One reading of both clocks. Deadlines use `mono_s` only; `wall_s` is for what people read."""

    wall_s: float
    mono_s: float
