"""Units of measurement, and conversions between those of one quantity."""

import difflib
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from streamd.core.errors import BadData

_PSI = Fraction("0.45359237") * Fraction("9.80665") / Fraction("0.0254") ** 2
_DEGREE = Fraction(math.pi / 180)
_DEFINED: dict[str, dict[str, str | Fraction]] = {
    "temperature": {"C": "1", "K": "1", "F": Fraction(5, 9)},
    "pressure": {
        "Pa": "1", "hPa": "100", "kPa": "1000", "MPa": "1000000", "mbar": "100", "bar": "100000",
        "atm": "101325", "psi": _PSI, "mmHg": "133.322387415", "inHg": "3386.388640341",
    },
    "speed": {
        "m/s": "1", "km/h": Fraction(5, 18), "mph": "0.44704", "kn": Fraction(1852, 3600), "ft/s": "0.3048",
    },
    "length": {
        "m": "1", "mm": "0.001", "cm": "0.01", "km": "1000", "in": "0.0254", "ft": "0.3048", "yd": "0.9144",
        "mi": "1609.344", "nmi": "1852",
    },
    "mass": {
        "kg": "1", "g": "0.001", "mg": "0.000001", "t": "1000", "lb": "0.45359237",
        "oz": "0.028349523125",
    },
    "volume": {"L": "1", "mL": "0.001", "m3": "1000", "gal": "3.785411784", "ft3": "28.316846592"},
    "time": {
        "s": "1", "ns": "1e-9", "us": "1e-6", "ms": "0.001", "min": "60", "h": "3600", "d": "86400",
        "w": "604800",
    },
    "data": {
        "B": "1", "bit": "0.125", "kB": "1e3", "MB": "1e6", "GB": "1e9", "TB": "1e12", "PB": "1e15",
        "KiB": Fraction(2**10), "MiB": Fraction(2**20), "GiB": Fraction(2**30), "TiB": Fraction(2**40),
        "PiB": Fraction(2**50), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30),
        "Ti": Fraction(2**40), "Pi": Fraction(2**50),
    },
    "energy": {"J": "1", "kJ": "1000", "MJ": "1000000", "Wh": "3600", "kWh": "3600000", "MWh": "3600000000"},
    "power": {"W": "1", "mW": "0.001", "kW": "1000", "MW": "1000000"},
    "voltage": {"V": "1", "mV": "0.001", "kV": "1000"},
    "current": {"A": "1", "mA": "0.001"},
    "angle": {"rad": "1", "deg": _DEGREE},
    "frequency": {"Hz": "1", "kHz": "1e3", "MHz": "1e6", "GHz": "1e9", "rpm": Fraction(1, 60)},
    "ratio": {"1": "1", "%": "0.01", "ppm": "1e-6"},
}  # fmt: skip
_ZEROS = {"K": Fraction("-273.15"), "F": Fraction(-160, 9)}
"""The value of 0 of a unit in the first unit of its quantity."""

QUANTITY: dict[str, str] = {unit: quantity for quantity, units in _DEFINED.items() for unit in units}
"""The quantity that each unit measures."""
SCALE: dict[str, Fraction] = {
    unit: Fraction(value) for units in _DEFINED.values() for unit, value in units.items()
}
TEXT = "text"
"""Stands for the unit of a text that names its own unit."""

_NUMBER = r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*"
_PART = re.compile(_NUMBER + r"([A-Za-z%/°]*3?)\s*", re.ASCII)
_TIME_PART = re.compile(_NUMBER + r"([A-Za-z]*)\s*", re.ASCII)
_ISO_DURATION = re.compile(
    r"(-?)P(?=[\dT])(?:(\d{1,15})D)?(?:T(?=\d)(?:(\d{1,15})H)?(?:(\d{1,15})M)?(?:(\d{1,15}(?:[.,]\d{1,9})?)S)?)?",
    re.ASCII,
)
_CLOCK = re.compile(r"(-?)(?:(\d{1,9}):)?(\d{1,9}):([0-5]?\d(?:\.\d{1,9})?)", re.ASCII)
_OTHER_WORDS = {
    "°C": "C", "°F": "F", "degC": "C", "degF": "F", "kmh": "km/h", "kph": "km/h", "kt": "kn", "l": "L",
    "ml": "mL", "bytes": "B", "byte": "B", "b": "B", "KB": "kB", "sec": "s", "secs": "s", "seconds": "s",
    "m": "min", "hr": "h", "hours": "h", "days": "d",
}  # fmt: skip
_MAX_CHARS = 128

Convert = Callable[[Any], float]


def refuse_unit(name: str) -> None:
    """Raise `ValueError` with a suggestion if there is no such unit."""
    if name in QUANTITY:
        return
    same = [unit for unit in QUANTITY if unit.lower() == name.lower()]
    close = same if len(same) == 1 else difflib.get_close_matches(name, QUANTITY, 1, 0.5)
    close = [_OTHER_WORDS[name]] if name in _OTHER_WORDS else close
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(QUANTITY)}"
    raise ValueError(f"there is no unit {name!r}: {hint}")


def converter(source: str, target: str) -> Convert:
    """The conversion from one unit to another; it raises `BadData`.

    With `source = TEXT` it reads texts with a unit of the same quantity: `72 F`, `1.5 GiB`; for a time also
    sums (`1h 30m`), clocks (`01:30:00`) and ISO 8601 (`PT1H30M`). Bytes and bits are whole numbers. Raises
    `ValueError` for units of different quantities.
    """
    refuse_unit(target)
    if source == TEXT:
        quantity = QUANTITY[target]
        steps = {unit: _linear(unit, target) for unit, found in QUANTITY.items() if found == quantity}
        return lambda value: _from_text(value, steps, quantity)
    refuse_unit(source)
    if QUANTITY[source] != QUANTITY[target]:
        raise ValueError(f"{source} measures {QUANTITY[source]} and {target} {QUANTITY[target]}")
    return _linear(source, target)


def _linear(source: str, target: str) -> Convert:
    """`(value * a + b) / c` with whole a, b and c, so that whole numbers stay exact as long as possible."""
    factor = SCALE[source] / SCALE[target]
    shift = (_ZEROS.get(source, Fraction()) - _ZEROS.get(target, Fraction())) / SCALE[target]
    common = math.lcm(factor.denominator, shift.denominator)
    a, b, c = int(factor * common), int(shift * common), common
    whole = target in ("B", "bit")

    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadData("convert:type", f"expected a number, got {type(value).__name__}")
        try:
            result = (value * a + b) / c
            if whole and result == (rounded := round(result)):
                return rounded
        except (OverflowError, ValueError):  # an integer beyond a float; round of NaN or infinity
            result = math.inf
        if not math.isfinite(result):
            raise BadData("convert:range", "the result is no finite number")
        return result

    return convert


def _from_text(value: Any, steps: dict[str, Convert], quantity: str) -> float:
    if not isinstance(value, str):
        raise BadData("convert:type", f"expected a text with a unit, got {type(value).__name__}")
    text = value.strip()
    if len(text) > _MAX_CHARS:
        raise BadData("convert:value", f"a text of {len(text)} characters")
    if quantity == "time" and (seconds := _clock_s(text)) is not None:
        return steps["s"](seconds)
    part_of = _TIME_PART if quantity == "time" else _PART
    total: float | None = None
    at = 0
    while at < len(text):
        found = part_of.match(text, at)
        if found is None or (total is not None and quantity != "time"):
            raise BadData("convert:value", f"no number with a unit: {text[:64]!r}")
        number, name = found.groups()
        unit = name if name in steps else _OTHER_WORDS.get(name, "")
        if unit not in steps:
            raise BadData("convert:unit", f"{name[:32]!r} is no unit of {quantity}: {text[:64]!r}")
        part = steps[unit](int(number) if number.isdigit() else float(number))
        total = part if total is None else total + part
        at = found.end()
    if total is None:
        raise BadData("convert:value", "an empty text")
    return total


def _clock_s(text: str) -> float | None:
    """Seconds of `01:30:00`, `1:30` (minutes and seconds) or `PT1H30M`; None for another text."""
    if found := _CLOCK.fullmatch(text):
        sign, hours, minutes, seconds = found.groups()
        total = int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    elif found := _ISO_DURATION.fullmatch(text):
        sign, days, hours, minutes, seconds = found.groups()
        whole = int(days or 0) * 86400 + int(hours or 0) * 3600 + int(minutes or 0) * 60
        total = whole + float((seconds or "0").replace(",", "."))
    else:
        return None
    return -total if sign else total
