from hypothesis import given
from hypothesis import strategies as st

from streamd.core.timers import Timers


def popped(timers: Timers, at_s: float) -> list[str | bytes]:
    found = []
    while (key := timers.pop(at_s)) is not None:
        found.append(key)
    return found


def test_timers_are_due_in_order_and_those_of_one_time_as_they_were_set() -> None:
    timers = Timers()
    for key, at_s in (("c", 3.0), ("a", 1.0), ("z", 2.0), ("b", 2.0)):
        timers.set(key, at_s)
    assert timers.first_s() == 1.0
    assert popped(timers, 0.5) == []
    assert popped(timers, 2.0) == ["a", "z", "b"]
    assert timers.items() == [("c", 3.0)]
    assert timers.first_s() == 3.0


def test_a_timer_that_is_moved_or_cancelled_is_not_due_at_its_old_time() -> None:
    timers = Timers()
    timers.set("a", 1.0)
    timers.set("b", 1.0)
    timers.set("a", 5.0)
    timers.cancel("b")
    timers.cancel("never set")
    assert timers.first_s() == 5.0
    assert popped(timers, 4.0) == []
    assert "b" not in timers
    timers.set("a", 2.0)
    assert popped(timers, 4.0) == ["a"]
    assert timers.first_s() is None


def test_keys_of_both_kinds_may_be_due_at_one_time() -> None:
    timers = Timers()
    for key in (b"[1]", "a", b"[2]"):
        timers.set(key, 1.0)
    assert popped(timers, 1.0) == [b"[1]", "a", b"[2]"]


def test_moving_a_timer_again_and_again_takes_no_memory() -> None:
    timers = Timers()
    for n in range(10_000):
        timers.set("ab"[n % 2], float(n % 7))
    assert len(timers._heap) <= 2 * 2 + 64 + 1


@given(
    acts=st.lists(
        st.tuples(st.sampled_from(["set", "cancel", "pop"]), st.sampled_from("abc"), st.integers(0, 9)),
        max_size=120,
    )
)
def test_they_do_what_a_sorted_list_would(acts: list[tuple[str, str, int]]) -> None:
    timers, model = Timers(), dict[str, tuple[int, int]]()
    for order, (act, key, at_s) in enumerate(acts):
        if act == "set":
            timers.set(key, at_s)
            model[key] = at_s, order
        elif act == "cancel":
            timers.cancel(key)
            model.pop(key, None)
        else:
            due = sorted((*its, key) for key, its in model.items() if its[0] <= at_s)
            for *_, its in due:
                del model[its]
            assert popped(timers, at_s) == [its for *_, its in due]
        assert timers.first_s() == min((s for s, _ in model.values()), default=None)
