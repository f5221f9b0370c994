"""Lists of names in messages."""

import pytest

from streamd.core.listed import MOST_SHOWN, listed

FIRST = "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, ""), (1, "n0"), (MOST_SHOWN, FIRST), (11, f"{FIRST} and 1 more"), (1510, f"{FIRST} and 1,500 more")],
)
def test_a_long_list_shows_its_first_names_and_the_number_of_the_others(count: int, shown: str) -> None:
    assert listed(f"n{number}" for number in range(count)) == shown
