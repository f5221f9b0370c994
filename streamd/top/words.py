"""Numbers, shares and times as short text."""

NOTHING = "-"
_MS = 0.001
_UNITS = ((172_800, 86_400, "days"), (7200, 3600, "h"), (120, 60, "min"))
"""From how many seconds on a unit is used, its length, and its name."""


def count(n: int | None) -> str:
    """A whole number, with commas."""
    return NOTHING if n is None else f"{n:,}"


def rate(per_s: float | None) -> str:
    """A number a second: with one decimal below ten, whole above."""
    if per_s is None:
        return NOTHING
    if 0 < per_s < 0.05:  # noqa: PLR2004 - it would be rounded to 0
        return "<0.1"
    return f"{per_s:,.1f}" if 0 < abs(per_s) < 9.95 else f"{per_s:,.0f}"  # noqa: PLR2004 - rounds to 10


def percent(share: float | None) -> str:
    """A share, of which neither a little nor nearly all is rounded away."""
    if share is None:
        return NOTHING
    if 0 < share < 0.01:  # noqa: PLR2004 - one percent
        return "<1%"
    if 0.99 < share < 1:  # noqa: PLR2004 - the same
        return ">99%"
    return f"{share:.0%}"


def span(seconds: float | None) -> str:
    """A length of time, rounded down from minutes on."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return "0 s" if seconds <= 0 else "<1 ms" if seconds < _MS else f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 - two digits are enough
        return f"{seconds:.1f} s"
    whole = round(seconds)
    _, length_s, unit = next((one for one in _UNITS if whole >= one[0]), (0, 1, "s"))
    return f"{whole // length_s} {unit}"
