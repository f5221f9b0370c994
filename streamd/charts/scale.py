"""Axes: a range with round ends, the places of its ticks, and their texts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_STEPS_S = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
    86400, 172800, 604800, 1209600,
)  # fmt: skip
_DAY_S = 86400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEARLY_ALL = 0.5
"""If the least value is below this share of the greatest, the axis begins at zero."""
_SMALLEST = 1e-300
_LARGEST = 1e308
_PLAIN = 1e9
"""Numbers from here on are written with an exponent."""
_DIGITS = 17
_SIX = 6
_MOST_DECIMALS = 6


@dataclass(frozen=True)
class Tick:
    """A place on the axis as a share of its length, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, both finite, `low` < `high`."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def share(self, value: float) -> float:
        """The place of the value between 0 (low) and 1 (high). Halves keep huge ranges from overflowing."""
        return min(1.0, max(0.0, (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)))


def of_numbers(
    values: Sequence[float], most: int, *, from_zero: bool = False, round_ends: bool = True
) -> Scale:
    """A scale for finite numbers with at most about `most` ticks."""
    low, high = _wide(min(values, default=0.0), max(values, default=1.0))
    if from_zero or 0 < low < _NEARLY_ALL * high:
        low = min(low, 0.0)
    if from_zero or 0 > high > _NEARLY_ALL * low:
        high = max(high, 0.0)
    step = _round_step(low, high, most)
    first, last = math.floor(low / step), math.ceil(high / step)
    if round_ends and math.isfinite(first * step) and math.isfinite(last * step) and last - first <= most + 2:
        low, high = first * step, last * step
    scale = Scale(low, high, ())
    at = [number * step for number in range(math.ceil(low / step), min(last, first + 2 * most + 2) + 1)]
    at = [value for value in at if low <= value <= high]
    texts = [number_text(value, step) for value in at]
    return Scale(low, high, tuple(Tick(scale.share(v), text) for v, text in zip(at, texts, strict=True)))


def of_times(values: Sequence[float], most: int) -> Scale:
    """A scale for times in seconds since 1970, whose ticks are round in UTC."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high - low < 1:
        return _of_fractions(low, high, most)
    step = next((step for step in _STEPS_S if (high - low) / step <= most), None)
    step = step or math.ceil((high - low) / most / _DAY_S) * _DAY_S
    at = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    scale = Scale(low, high, ())
    return Scale(low, high, tuple(Tick(scale.share(s), _time_text(s, step, high - low)) for s in at))


def _of_fractions(low: float, high: float, most: int) -> Scale:
    if high - low < 1e-6:  # noqa: PLR2004 - stored times have microseconds
        low, high = low - 0.5, high + 0.5
    scale, middle = Scale(low, high, ()), (low + high) / 2
    places = (low, high) if most > 1 else (middle,)
    return Scale(low, high, tuple(Tick(scale.share(s), _moment(s, "%H:%M:%S.%f")) for s in places))


def _time_text(at_s: float, step_s: float, span_s: float) -> str:
    if step_s >= _DAY_S:
        return _moment(at_s, "%Y-%m-%d")
    clock = "%H:%M" if step_s >= 60 else "%H:%M:%S"  # noqa: PLR2004 - a minute
    return _moment(at_s, clock if span_s <= _DAY_S else f"%m-%d {clock}")


def _moment(at_s: float, pattern: str) -> str:
    try:
        return (_EPOCH + timedelta(seconds=at_s)).strftime(pattern)
    except (OverflowError, ValueError):  # not in the years 1 to 9999
        return number_text(at_s)


def time_note(values_s: Sequence[float]) -> str:
    """The zone of the times, and the day if all are of one day, which the ticks do not show then."""
    days = {_moment(end_s, "%Y-%m-%d") for end_s in (min(values_s, default=0), max(values_s, default=0))}
    return f"{days.pop()} UTC" if len(days) == 1 and values_s else "UTC"


def _wide(low: float, high: float) -> tuple[float, float]:
    """The range, wider if all values are the same or nearly so for a float."""
    magnitude = max(abs(low), abs(high))
    if high / 2 - low / 2 > max(magnitude * 1e-12, _SMALLEST):
        return low, high
    margin = magnitude / 8 or 1.0
    largest = float.fromhex("0x1.fffffffffffffp+1023")
    return max(-largest, low - margin), min(largest, high + margin)


def _round_step(low: float, high: float, most: int) -> float:
    """The least of 1, 2 and 5 times a power of ten that gives at most `most` steps."""
    rough = min(max((high / 2 - low / 2) / max(1, most) * 2, _SMALLEST), _LARGEST)
    power = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough * (1 - 1e-9)), 10 * power)


def number_text(value: float, step: float = 0.0) -> str:
    """The number with as many digits as a step needs (0: about six digits), with commas or an exponent."""
    if value == 0:
        return "0"
    digits = min(_DIGITS, max(1, _power(value) - _power(step) + 1)) if step else _SIX
    decimals = max(0, digits - 1 - _power(value))
    if abs(value) < _PLAIN and decimals <= (_MOST_DECIMALS if step else _SIX + 3):
        text, exponent = f"{value:,.{decimals}f}", ""
    else:
        text, _, power = f"{value:.{digits - 1}e}".partition("e")
        exponent = f"e{int(power)}"
    return (text if step or "." not in text else text.rstrip("0").rstrip(".")) + exponent


def _power(value: float) -> int:
    return math.floor(math.log10(abs(value)) + 1e-12)
