import pytest

from streamd.core.counters import Counters
from streamd.core.now import Now
from streamd.functions.context import MAX_NAMES, MOST_AT_ONCE, Context
from streamd.functions.keyed_state import KeyedState, StateChanges


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def context(counters: Counters) -> Context:
    return Context("python[0]", "main", KeyedState(2, 60.0), counters)


def test_now_is_the_time_of_the_batch_or_of_the_last_one(context: Context) -> None:
    with pytest.raises(RuntimeError, match="not known in open"):
        _ = context.now
    with context.batch(Now(5.0, 1.0)):
        assert context.now == Now(5.0, 1.0)
    assert context.now == Now(5.0, 1.0)
    other = Context("python[1]", "main", KeyedState(2, 60.0), Counters())
    with other.batch(Now(9.0, 2.0)):
        assert context.now == Now(5.0, 1.0)


def test_a_count_is_a_counter_with_its_name_as_the_reason(context: Context, counters: Counters) -> None:
    context.count("cold_start")
    context.count("cold_start", 2)
    context.count("nothing", 0)
    assert dict(counters) == {("counted", "cold_start"): 3, ("counted", "nothing"): 0}


@pytest.mark.parametrize("name", ["", "Cold", "1st", "a-b", "x" * 65, "naïve", 5, None])
def test_a_name_that_is_no_label_is_refused(context: Context, counters: Counters, name: str) -> None:
    with pytest.raises(ValueError, match="a name has a to z"):
        context.count(name)
    assert not counters


@pytest.mark.parametrize(
    "n",
    [-1, 1.5, True, None, 2**53 + 1, 2**63, 10**30, 1 << 20_000, -(1 << 20_000), float("nan")],
    ids=lambda n: type(n).__name__,
)
def test_a_counter_grows_by_whole_numbers(context: Context, counters: Counters, n: int) -> None:
    with pytest.raises(ValueError, match="grows by a whole number"):
        context.count("a", n)
    assert not counters


def test_the_largest_number_is_one_that_is_exact_everywhere(context: Context, counters: Counters) -> None:
    context.count("ns", MOST_AT_ONCE)
    context.count("ns", MOST_AT_ONCE)
    assert counters["counted", "ns"] == 2 * MOST_AT_ONCE == 2**54
    for _ in range(200):
        context.count("ns", MOST_AT_ONCE)
    assert counters["counted", "ns"] == 2**60


def test_the_names_are_bounded(context: Context, counters: Counters) -> None:
    for n in range(MAX_NAMES):
        context.count(f"n{n}")
    with pytest.raises(ValueError, match="at most 100 names"):
        context.count("one_more")
    context.count("n5")
    assert counters["counted", "n5"] == 2
    assert len(counters) == MAX_NAMES


def test_forgotten_keys_are_counted(context: Context, counters: Counters) -> None:
    for n in range(5):
        with context.batch(Now(5.0, 1.0)) as changes:
            context.state[n] = 1
            changes.keep()
        context.put(changes)
    assert counters["forgotten", ""] == 3
    for mono_s in (70.0, 140.0):
        with context.batch(Now(5.0, mono_s)):
            pass
        context.put(StateChanges(context.state, Now(5.0, mono_s)))
    assert counters["forgotten", ""] == 5


def test_a_step_without_a_state_says_why() -> None:
    context = Context("python[0]", "main", KeyedState(2, 60.0), Counters(), why_no_state="calls overlap")
    with pytest.raises(RuntimeError, match=r"context\.state: calls overlap"):
        _ = context.state
