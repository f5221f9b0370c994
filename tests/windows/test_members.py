import pytest

from streamd.windows.members import ERROR, MOST_EXACT_MEMBERS, Members


def of(count: int, *, long: bool = False) -> Members:
    members = Members()
    for n in range(count):
        members.add(f"user-{n}" + "x" * 100 * long)
        members.add(f"user-{n // 2}" + "x" * 100 * long)
    return members


@pytest.mark.parametrize("count", [0, 1, 2, 700, MOST_EXACT_MEMBERS])
@pytest.mark.parametrize("long", [False, True])
def test_few_members_are_counted_exactly(count: int, long: bool) -> None:
    assert of(count, long=long).count == count


@pytest.mark.parametrize("count", [MOST_EXACT_MEMBERS + 1, 3_000, 12_000, 40_000])
def test_many_members_are_counted_within_the_error(count: int) -> None:
    """The hash is fixed, so the result is the same in each run."""
    assert of(count).count == pytest.approx(count, rel=3 * ERROR)


@pytest.mark.parametrize("long", [False, True])
def test_it_does_not_matter_when_counting_became_inexact(long: bool) -> None:
    before = of(2_000, long=long)
    again = of(2_000, long=long)
    for n in range(2_000):
        again.add(f"user-{n}" + "x" * 100 * long)
    assert again.count == before.count


@pytest.mark.parametrize("text", ["a" * 33, "ä" * 20, "\ud800", "ä" * 33])
def test_a_long_or_odd_member_is_the_same_before_and_after(text: str) -> None:
    members = Members()
    members.add(text)
    for n in range(5_000):
        members.add(f"m{n}")
    count = members.count
    members.add(text)
    assert members.count == count


@pytest.mark.parametrize("count", [10, 2_000])
def test_a_stored_state_goes_on_as_if_nothing_had_been(count: int) -> None:
    one = of(count)
    other = Members.load(one.dump())
    for members in (one, other):
        for n in range(100):
            members.add(f"new-{n}")
    assert (other.dump(), other.count) == (one.dump(), one.count)
    with pytest.raises(ValueError, match="not the registers"):
        Members.load([[], b"short"])


def test_a_state_is_small() -> None:
    assert len(of(50_000).dump()[1]) == 4096
    assert sum(map(len, of(1_000, long=True).dump()[0])) == 16_000
