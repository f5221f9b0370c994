import pytest

from streamd.redaction.card import find_cards, is_card

TEST_NUMBERS = [
    "4111111111111111", "4012888888881881", "4222222222222", "5555555555554444", "5105105105105100",
    "2223003122003222", "378282246310005", "371449635398431", "6011111111111117", "30569309025904",
    "3530111333300000", "6200000000000005", "6304000000000000",
]  # fmt: skip
"""Numbers that card networks and banks publish for tests."""


@pytest.mark.parametrize("digits", TEST_NUMBERS)
def test_a_card_is_known_by_network_length_and_check_digit(digits: str) -> None:
    assert is_card(digits)
    wrong = digits[:-1] + str((int(digits[-1]) + 1) % 10)
    assert not is_card(wrong)
    assert not is_card(digits + "0" * 8)
    assert not is_card("1" + digits[1:])
    assert find_cards(f"paid with {digits}.") == [(10, 10 + len(digits))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4111 1111 1111 1111", ["4111 1111 1111 1111"]),
        ("4111-1111-1111-1111", ["4111-1111-1111-1111"]),
        ("4111\u00a01111\u202f1111\u20111111", ["4111\u00a01111\u202f1111\u20111111"]),
        ("3782 822463 10005", ["3782 822463 10005"]),
        ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", ["4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"]),
        ("12 4111 1111 1111 1111 12/26", ["4111 1111 1111 1111"]),
        ("4111111111111111 5555555555554444", ["4111111111111111", "5555555555554444"]),
        ("卡4111111111111111号", ["4111111111111111"]),
        ("\u0664\u0661\u0661\u0661 1111 1111 1111", ["\u0664\u0661\u0661\u0661 1111 1111 1111"]),
        ("411111 1111111111", ["411111 1111111111"]),
        ("41 111 111 111 111 11", []),
        ("x4111111111111111", []),
        ("4111111111111111a", []),
        ("4111111111111111.5", []),
        ("0.4111111111111111", []),
        ("4111-1111-1111-1111-1111-1111", []),
        ("41111111111111112", []),
    ],
)
def test_groups_and_borders(text: str, found: list[str]) -> None:
    assert [text[a:b] for a, b in find_cards(text)] == found
