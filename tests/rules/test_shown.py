from typing import Any

import pytest

from streamd.rules.shown import listed, shown, shown_name


class Bad:
    def __repr__(self) -> str:
        raise RuntimeError


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"), (1.5, "1.5"), ("a", "'a'"), ("\ud800", r"'\ud800'"), (Bad(), "Bad"),
        ("x" * 10**6, "'" + "x" * 62 + "…"), (ENDLESS, "[[...]]"),
    ],
)  # fmt: skip
def test_a_value_is_shown_shortly_and_nothing_raises(value: Any, text: str) -> None:
    assert shown(value) == text


def test_an_integer_that_python_does_not_print_is_named() -> None:
    assert shown(10**5000) == "int"


def test_names_and_lists_are_shortened() -> None:
    assert shown_name("gps.lat") == "gps.lat"
    assert shown_name("é" * 64) == "é" * 64
    assert shown_name("x" * 65) == "x" * 63 + "…"
    assert shown_name("\ud800") == r"\ud800"
    assert listed(["a", "b"]) == "a; b"
    assert listed(list("abcde")) == "a; b; c; d; e"
    assert listed(list("abcdefg")) == "a; b; c; d; e; and 2 more"
