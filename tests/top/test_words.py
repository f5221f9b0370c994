import pytest

from streamd.top.words import NOTHING, count, percent, rate, span


def test_a_number_that_is_not_known_is_a_dash() -> None:
    assert {count(None), rate(None), percent(None), span(None)} == {NOTHING}


@pytest.mark.parametrize(
    ("per_s", "text"),
    [(0, "0"), (0.04, "<0.1"), (1.5, "1.5"), (9.96, "10"), (12.4, "12"), (48210.6, "48,211")],
)
def test_rates(per_s: float, text: str) -> None:
    assert rate(per_s) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (0.001, "<1%"), (0.5, "50%"), (0.994, ">99%"), (1, "100%"), (1.2, "120%")]
)
def test_shares(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (-1, "0 s"), (0.0004, "<1 ms"), (0.42, "420 ms"), (3.14, "3.1 s"), (119, "119 s"),
        (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 days"),
    ],
)  # fmt: skip
def test_times(seconds: float, text: str) -> None:
    assert span(seconds) == text
