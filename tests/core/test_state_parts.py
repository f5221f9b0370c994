import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.state_parts import PART, Entries, Items, parts_of

KEYS = st.text() | st.binary()


@given(
    entries=st.dictionaries(KEYS, st.integers(0, 2**32)),
    items=st.lists(st.floats(allow_nan=False)),
    value=st.integers(0, 2**63) | st.none(),
)
def test_the_parts_together_are_the_encoded_state(
    entries: dict[str | bytes, int], items: list[float], value: int | None
) -> None:
    rules = {"r": (1, Items(items, lambda x: [x]))}
    whole = b"".join(parts_of(("kind", value, Entries(entries, lambda n: n + 1), rules, [value])))
    plain = ("kind", value, {k: n + 1 for k, n in entries.items()}, {"r": (1, [[x] for x in items])}, [value])
    assert whole == msgspec.msgpack.encode(plain)


@pytest.mark.parametrize(
    "count", [0, 1, 15, 16, PART - 1, PART, PART + 1, PART + 15, PART + 16, 65_535, 65_536]
)
def test_headers_of_all_sizes(count: int) -> None:
    numbers = range(count)
    entries = dict.fromkeys(map(str, numbers), 1)
    whole = b"".join(parts_of((Entries(entries, lambda n: n), Items(numbers, lambda n: n))))
    assert whole == msgspec.msgpack.encode((entries, list(numbers)))


def test_no_part_has_more_entries_than_one_turn_of_the_event_loop_may_take() -> None:
    made = 0

    def stored(n: int) -> int:
        nonlocal made
        made += 1
        return n

    before = 0
    for _ in parts_of((Items(range(10_000), stored),)):
        assert made - before <= PART
        before = made
    assert before == 10_000


def test_what_is_added_meanwhile_is_not_in_the_state() -> None:
    entries = dict.fromkeys(map(str, range(PART + 1)), 1)
    parts = parts_of((Entries(entries, lambda n: n),))
    some = [next(parts), next(parts), next(parts)]
    entries["more"] = 2
    (stored,) = msgspec.msgpack.decode(b"".join([*some, *parts]))
    assert len(stored) == PART + 1
