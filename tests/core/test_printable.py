import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.printable import cells, printable, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 数据 é", "plain 数据 é"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31m\x00\x7f", "\\x1b[31m\\x00\\x7f"),
        ("\x85\x9b", "\\x85\\x9b"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\ud800 \udcff", "\\ud800 \\udcff"),
        (b"caf\xc3\xa9 \xff\n", "café \\xff\\n"),
        ("", ""),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str | bytes, shown: str) -> None:
    assert printable(text) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert printable("x" * 30, 10) == "x" * 10 + "… [20 more]"
    assert printable(b"x" * 11, 10) == "x" * 10 + "… [1 more]"
    assert printable("x" * 10, 10) == "x" * 10


@given(st.one_of(st.text(st.characters()), st.binary()), st.integers(0, 50))
def test_the_result_is_printable_bounded_and_encodes(text: str | bytes, max_chars: int) -> None:
    shown = printable(text, max_chars)
    assert shown.isprintable()
    assert len(shown) <= 10 * max_chars + 40
    assert shown.encode().decode() == shown


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    assert cells("abc") == 3
    assert cells("数据") == 4
    assert cells("e\u0301") == 1


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "a.."),
        ("数据数据", 8, "数据数据"),
        ("数据数据", 7, "数据.."),
        ("数据数据", 5, "数.."),
        ("abcd", 1, "."),
        ("abcd", 0, ""),
    ],
)
def test_a_longer_text_is_cut_to_its_columns(text: str, columns: int, shown: str) -> None:
    assert shortened(text, columns) == shown
