import msgspec

from streamd.core.generations import Generations
from streamd.core.state_parts import parts_of


def remember(kept: "Generations[float]", key: str, at_s: float) -> int:
    """As a step does it; returns how many keys were forgotten."""
    forgotten = 0
    kept.turn(at_s)
    if key not in kept.newer and len(kept.newer) >= kept.half:
        forgotten = sum(s > at_s - 10.0 for s in kept.make_room(at_s).values())
    kept.newer[key] = at_s
    kept.put(at_s)
    return forgotten


def test_a_key_is_remembered_for_its_lifetime_and_dropped_within_two() -> None:
    kept = Generations[float](100, 10.0)
    remember(kept, "a", 0.0)
    remember(kept, "b", 9.5)
    assert kept.turn(10.0) == {}
    assert (kept.newer, kept.older) == ({}, {"a": 0.0, "b": 9.5})
    remember(kept, "c", 15.0)
    assert kept.turn(20.0) == {}
    assert "b" in kept.older
    assert kept.turn(25.0) == {"a": 0.0, "b": 9.5}
    assert len(kept) == 1


def test_beyond_the_bound_the_older_half_is_forgotten_and_only_live_keys_are_counted() -> None:
    kept = Generations[float](4, 10.0)
    assert [remember(kept, key, float(n)) for n, key in enumerate("abcd")] == [0, 0, 0, 0]
    assert remember(kept, "e", 5.0) == 2
    assert remember(kept, "f", 6.0) == 0
    assert remember(kept, "g", 12.5) == 1
    assert len(kept) == 3


def test_no_more_than_max_keys_are_ever_kept() -> None:
    kept = Generations[float](6, 1e9)
    for n in range(100):
        remember(kept, str(n), float(n))
        assert len(kept) <= 6
        assert all(str(m) in kept.newer or str(m) in kept.older for m in range(max(0, n - 2), n + 1))


def test_new_keys_are_added_together_and_none_if_one_is_known() -> None:
    kept = Generations[float](100, 10.0)
    assert kept.add_new(["a", "b"], 1.0)
    assert not kept.add_new(["c", "a"], 2.0)
    assert not kept.add_new(["d", "d"], 2.0)
    kept.make_room(3.0)
    assert not kept.add_new(["e", "b"], 4.0)
    assert kept.add_new(["e"], 4.0)
    assert (kept.newer, kept.older) == ({"e": 4.0}, {"a": 1.0, "b": 1.0})


def test_keys_are_dropped_also_if_no_other_comes() -> None:
    kept = Generations[float](100, 10.0)
    remember(kept, "a", 0.0)
    assert kept.turn(10.0) == {}
    kept.put(10.0)
    assert (kept.due_s, len(kept)) == (20.0, 1)
    assert kept.turn(20.0) == {"a": 0.0}
    kept.put(20.0)
    assert (kept.due_s, len(kept)) == (None, 0)


def test_a_key_comes_with_its_older_value_or_a_new_one_if_there_is_room() -> None:
    kept = Generations[list[int]](2, 10.0)
    first = kept.bring("a", list)
    kept.put(0.0)
    kept.turn(10.0)
    assert kept.bring("a", list) is first
    assert (kept.newer, kept.older) == ({"a": []}, {})
    assert kept.bring("b", list) == []
    assert kept.bring("c", list) is None
    assert list(kept.newer) == ["a", "b"]


def test_a_snapshot_holds_both_generations_and_the_age_of_the_newer_one() -> None:
    kept, other = Generations[float](100, 10.0), Generations[float](100, 10.0)
    remember(kept, "a", 0.0)
    kept.turn(10.0)
    remember(kept, "b", 12.0)
    age_s, newer, older = msgspec.msgpack.decode(b"".join(parts_of(kept.stored(15.0, str))))
    assert (age_s, newer, older) == (3.0, {"b": "12.0"}, {"a": "0.0"})
    other.restore(age_s, newer, older, float)
    assert (other.newer, other.older, other.due_s) == (kept.newer, kept.older, 7.0)
