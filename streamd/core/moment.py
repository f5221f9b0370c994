"""A time as users write it: a point in time, or a duration before now."""

import re

from streamd.core.errors import BadData
from streamd.core.settings import parse_duration_s
from streamd.core.timestamp import canonical, from_epoch

_SMALL = re.compile(r"\s*-?\d{1,8}(\.\d*)?\s*", re.ASCII)
"""A number that is more likely a duration without a unit than a time before 1973."""


def moment(text: str, wall_s: float, timezone: str | None = None) -> str:
    """The canonical text of a time, of epoch seconds, or of a duration before `wall_s`.

    Raises `ValueError` for other texts. A number of up to eight digits is refused, because it may be a
    duration without a unit, or a day.
    """
    try:
        return from_epoch(wall_s - parse_duration_s(text))
    except BadData as bad:
        raise ValueError(f"the duration reaches back beyond the year 1: {bad.detail}") from None
    except ValueError:
        pass
    if _SMALL.fullmatch(text):
        number = text.strip().removeprefix("-")
        raise ValueError(
            f'{text.strip()!r} has no unit: write "{number}s" or "{number}m" for how long ago,'
            " or a time like 2026-01-31T08:00:00Z"
        )
    try:
        return canonical(text, timezone=timezone)
    except BadData as bad:
        raise ValueError(f"neither a duration like 10m nor a time: {bad.detail}") from None
