import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.shaping.units import QUANTITY, converter, refuse_unit

PAIRS = [(one, two) for one in QUANTITY for two in QUANTITY if QUANTITY[one] == QUANTITY[two] and one != two]


@pytest.mark.parametrize(
    ("value", "source", "target", "result"),
    [
        (212, "F", "C", 100.0),
        (-40, "F", "C", -40.0),
        (32, "F", "K", 273.15),
        (0, "C", "K", 273.15),
        (0, "K", "F", -459.67),
        (100, "C", "F", 212.0),
        (1, "psi", "kPa", 6.894757293168361),
        (1, "bar", "psi", 14.503773773020923),
        (60, "mph", "km/h", 96.56064),
        (1, "kn", "km/h", 1.852),
        (5, "GiB", "B", 5 * 2**30),
        (1, "B", "bit", 8),
        (90, "min", "h", 1.5),
        (250, "ms", "s", 0.25),
        (1, "mi", "km", 1.609344),
        (1, "kWh", "MJ", 3.6),
        (180, "deg", "rad", math.pi),
        (45, "%", "1", 0.45),
        (3000, "rpm", "Hz", 50.0),
    ],
)
def test_conversions(value: float, source: str, target: str, result: float) -> None:
    found = converter(source, target)(value)
    assert found == pytest.approx(result, rel=1e-14)
    if target in ("C", "B", "bit", "h") and float(result).is_integer():
        assert found == result


def test_whole_bytes_are_integers_and_parts_are_not_hidden() -> None:
    assert repr(converter("KiB", "B")(1.5)) == "1536"
    assert repr(converter("kB", "KiB")(1)) == "0.9765625"
    assert repr(converter("bit", "B")(1)) == "0.125"


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_back_again_is_the_same(source: str, target: str) -> None:
    there, back = converter(source, target), converter(target, source)
    for value in (0, 1, -7.25, 1234.5):
        assert back(there(value)) == pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "target", "result"),
    [
        ("72 F", "C", 200 / 9),
        ("72°F", "C", 200 / 9),
        ("21.5C", "F", 70.7),
        ("1.5 GiB", "B", 1.5 * 2**30),
        ("10MB", "B", 10_000_000),
        ("128Mi", "B", 128 * 2**20),
        ("64 bytes", "KiB", 0.0625),
        ("250ms", "s", 0.25),
        ("1h30m", "s", 5400),
        ("1 h 30 min 15s", "s", 5415),
        ("2d", "h", 48),
        ("01:30:00", "s", 5400),
        ("-1:30.5", "s", -90.5),
        ("PT1H30M", "min", 90),
        ("-P1DT0.5S", "s", -86400.5),
        ("-1.5e3 mV", "V", -1.5),
        ("2 m3", "L", 2000),
        ("45%", "1", 0.45),
        ("60 mph", "km/h", 96.56064),
    ],
)
def test_texts_name_their_unit(text: str, target: str, result: float) -> None:
    assert converter("text", target)(text) == pytest.approx(result, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [
        ("", "s", "value"),
        ("soon", "s", "value"),
        ("72", "C", "unit"),
        ("72 psi", "C", "unit"),
        ("10K", "B", "unit"),
        ("10 M", "B", "unit"),
        ("1 GiB 5 MiB", "B", "value"),
        ("5m3s4", "s", "unit"),
        ("PT", "s", "value"),
        ("1e999 s", "s", "range"),
        ("1" * 200 + "s", "s", "value"),
        (72, "C", "type"),
        (None, "C", "type"),
    ],
)
def test_texts_that_name_none(text: Any, target: str, reason: str) -> None:
    with pytest.raises(BadData) as bad:
        converter("text", target)(text)
    assert bad.value.reason == f"convert:{reason}"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("72", "type"),
        (True, "type"),
        ([1], "type"),
        (float("nan"), "range"),
        (float("inf"), "range"),
        (1e308, "range"),
        (10**400, "range"),
    ],
)
@pytest.mark.parametrize(("source", "target"), [("GiB", "bit"), ("MPa", "Pa")])
def test_what_is_no_number(value: Any, reason: str, source: str, target: str) -> None:
    with pytest.raises(BadData) as bad:
        converter(source, target)(value)
    assert bad.value.reason == f"convert:{reason}"


@given(st.text(max_size=12) | st.from_regex(r"[0-9.:PTHMS hms-]{1,12}"), st.sampled_from(sorted(QUANTITY)))
def test_any_text_is_a_finite_number_or_bad_data(text: str, target: str) -> None:
    try:
        found: Any = converter("text", target)(text)
    except BadData as bad:
        found = bad.reason
    assert found in ("convert:value", "convert:unit", "convert:range") or math.isfinite(found)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("°C", "did you mean 'C'"),
        ("kmh", "did you mean 'km/h'"),
        ("kpa", "did you mean 'kPa'"),
        ("#", "there are C"),
    ],
)
def test_an_unknown_unit_has_a_suggestion(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refuse_unit(name)
    with pytest.raises(ValueError, match=message):
        converter(name, "C")


def test_units_of_two_quantities_are_refused() -> None:
    with pytest.raises(ValueError, match="psi measures pressure and C temperature"):
        converter("psi", "C")
