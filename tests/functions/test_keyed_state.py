from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamd.core.now import Now
from streamd.core.state_parts import parts_of
from streamd.functions.keyed_state import UNDER_WAY, KeyedState, StateChanges, Stored
from streamd.functions.state_values import BadState

NOW = Now(1e9, 5.0)


@contextmanager
def call(state: KeyedState, now: Now = NOW) -> Iterator[StateChanges]:
    """One call; its changes are kept and put if the body raises nothing."""
    state.begin(now)
    changes = StateChanges(state, now)
    token = UNDER_WAY.set(changes)
    try:
        yield changes
        changes.keep()
        state.put(changes.packed)
    finally:
        UNDER_WAY.reset(token)


def restored(
    state: KeyedState, max_keys: int = 100, forget_after_s: float = 60.0, now: Now = NOW
) -> KeyedState:
    """Another state, of the snapshot of this one."""
    other = KeyedState(max_keys, forget_after_s)
    stored = state.stored()
    if stored is not None:
        other.restore(msgspec.msgpack.decode(b"".join(parts_of(stored)), type=Stored), now)
    return other


def content(state: KeyedState) -> dict[Any, Any]:
    with call(state):
        return dict(state.items())


def fail() -> None:
    raise KeyError("of the user")


class AsADict(RuleBasedStateMachine):
    """A state behaves like a dict of which each failed call is undone, also over restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.state = KeyedState(1000, 1e6)
        self.model: dict[Any, Any] = {}

    @rule(
        steps=st.lists(
            st.tuples(
                st.sampled_from(["set", "add", "del", "pop", "setdefault", "get", "look", "clear", "keep"]),
                st.sampled_from(["a", "b", 1, ("a", 1), None]),
                st.integers(0, 3),
            ),
            max_size=12,
        ),
        fails=st.booleans(),
    )
    def do(self, steps: list[tuple[str, Any, int]], fails: bool) -> None:
        model = {key: dict(value) for key, value in self.model.items()}
        kept = model
        try:
            with call(self.state) as changes:
                for what, key, n in steps:
                    if what == "keep":
                        changes.keep()
                        model = {key: dict(value) for key, value in model.items() if value}
                        kept = model
                        model = {key: dict(value) for key, value in model.items()}
                    else:
                        assert self.one(self.state, what, key, n) == self.one(model, what, key, n)
                    assert len(self.state) == len(model)
                    assert set(self.state) == set(model)
                    assert dict(self.state.items()) == model
                if fails:
                    fail()
        except KeyError:
            return  # nothing was put
        del kept
        self.model = {key: value for key, value in model.items() if value}

    def one(  # noqa: C901 - one case for each method
        self, state: Any, what: str, key: Any, n: int
    ) -> Any:
        match what:
            case "set":
                state[key] = {"n": n}
            case "add":
                if key in state or isinstance(state, KeyedState):
                    state[key][f"f{n}"] = n
                else:
                    state[key] = {f"f{n}": n}
            case "del":
                if key in state:
                    del state[key]
                else:
                    with pytest.raises(KeyError):
                        del state[key]
            case "pop":
                return state.pop(key, n)
            case "setdefault":
                return state.setdefault(key, {"n": n})
            case "get":
                return state.get(key, n)
            case "look":
                return key in state
            case "clear":
                state.clear()
        return None

    @rule()
    def restart(self) -> None:
        self.state = restored(self.state, 1000, 1e6)

    @invariant()
    def is_the_same(self) -> None:
        assert content(self.state) == self.model


AsADict.TestCase.settings = settings(
    max_examples=60, stateful_step_count=8, deadline=None, phases=(Phase.explicit, Phase.generate)
)
TestAsADict = AsADict.TestCase


def test_a_new_key_has_an_empty_dict_that_takes_no_place_until_it_is_filled() -> None:
    state = KeyedState(100, 60.0)
    with call(state):
        assert state["a"] == {}
        assert "a" in state
    with call(state):
        assert "a" not in state
        state["a"]["n"] = 1
    with call(state):
        assert state["a"] == {"n": 1}
        state["a"].clear()
    assert content(state) == {}
    assert state.stored() is None


def test_a_value_that_cannot_be_stored_undoes_the_whole_call() -> None:
    state = KeyedState(100, 60.0)
    with call(state):
        state["a"] = 1
        state["b"] = 1
    changes = StateChanges(state, NOW)
    token = UNDER_WAY.set(changes)
    state["a"] = 2
    state["b"] = {"x": object()}
    with pytest.raises(BadState, match=r"context.state\['b'\]\['x'\]: an object cannot"):
        changes.keep()
    UNDER_WAY.reset(token)
    state.put(changes.packed)
    assert content(state) == {"a": 1, "b": 1}


def test_a_state_is_used_by_its_own_calls_only() -> None:
    state, other = KeyedState(100, 60.0), KeyedState(100, 60.0)
    with pytest.raises(RuntimeError, match="can be used only while a record"):
        state["a"]
    with call(other), pytest.raises(RuntimeError, match="can be used only while a record"):
        state.get("a")
    with pytest.raises(RuntimeError, match="can be used only while a record"):
        len(state)


def test_changes_that_are_not_put_are_not_seen_by_the_next_call() -> None:
    state = KeyedState(100, 60.0)
    left = StateChanges(state, NOW)
    token = UNDER_WAY.set(left)
    state["a"]["n"] = 1
    left.keep()
    assert state["a"] == {"n": 1}
    UNDER_WAY.reset(token)
    assert content(state) == {}


def test_beyond_max_keys_those_that_were_not_used_for_longest_are_forgotten() -> None:
    state = KeyedState(10, 1e6)
    """The counted ones are exactly those that are missing."""
    forgotten = 0
    for n in range(100):
        state.begin(NOW)
        changes = StateChanges(state, NOW)
        token = UNDER_WAY.set(changes)
        state[n]["n"] = n
        state["often"]["n"] = n
        changes.keep()
        forgotten += state.put(changes.packed)
        assert len(state) <= 10
        UNDER_WAY.reset(token)
    kept = content(state)
    assert kept["often"] == {"n": 99}
    assert {99, 98, 97, 96} <= set(kept)
    assert forgotten + len(kept) == 101


def test_one_batch_of_more_keys_than_are_kept_keeps_the_last_ones() -> None:
    state = KeyedState(10, 1e6)
    with call(state):
        for n in range(35):
            state[n]["n"] = n
    kept = content(state)
    assert len(kept) <= 10
    assert set(range(30, 35)) <= set(kept)


def test_a_key_that_is_not_used_is_forgotten_also_over_a_restart() -> None:
    state = KeyedState(100, 60.0)
    with call(state, Now(1000.0, 5.0)):
        state["quiet"] = 1
        state["busy"] = 1
    with call(state, Now(1050.0, 55.0)):
        assert state["busy"] == 1
        assert "quiet" in state  # looking is no use of it
    state = restored(state, now=Now(1055.0, 1.0))
    with call(state, Now(1070.0, 16.0)):
        assert state["busy"] == 1
    with call(state, Now(1135.0, 81.0)):
        assert "quiet" not in state
        assert state["busy"] == 1


@pytest.mark.parametrize("changed", [False, True])
def test_a_key_of_the_older_generation_is_deleted(changed: bool) -> None:
    state = KeyedState(100, 60.0)
    with call(state, Now(1000.0, 5.0)):
        state["a"] = 1
    with call(state, Now(1070.0, 75.0)):
        assert state.get("a") == 1
        if changed:
            state["a"] = 2
    with call(state, Now(1071.0, 76.0)):
        del state["a"]
    with call(state, Now(1072.0, 77.0)):
        assert "a" not in state
        assert list(state) == []


def test_a_key_that_was_deleted_begins_anew_in_the_same_call() -> None:
    state = KeyedState(100, 60.0)
    with call(state):
        state["a"]["old"] = 1
    with call(state):
        del state["a"]
        assert state["a"] == {}
        state["a"]["new"] = 1
    assert content(state) == {"a": {"new": 1}}


def test_a_call_that_uses_all_keys_forgets_none() -> None:
    state = KeyedState(10, 1e6)
    for n in range(8):
        with call(state):
            state[n]["n"] = n
    for _ in range(3):
        with call(state) as changes:
            assert len(dict(state.items())) == 8
            changes.keep()
            assert state.put(changes.packed) == 0
    assert len(content(state)) == 8


@example(8, [[0, 1, 2, 4, 5, 8], [0, 1, 2, 3, 5, 6, 7, 4]])
@given(st.integers(2, 12), st.lists(st.lists(st.integers(0, 20), max_size=30), max_size=12))
def test_never_more_keys_than_allowed_and_the_last_used_half_always(
    max_keys: int, batches: list[list[int]]
) -> None:
    """What is put last stays, whatever was used before; nothing is forgotten while there is room."""
    state = KeyedState(max_keys, 1e6)
    used: list[int] = []
    known: set[int] = set()
    for batch in batches:
        state.begin(NOW)
        changes = StateChanges(state, NOW)
        token = UNDER_WAY.set(changes)
        for n in batch:
            state[n]["n"] = n
        changes.keep()
        forgotten = state.put(changes.packed)
        changes.packed.clear()
        kept = set(state)
        UNDER_WAY.reset(token)
        order = list(dict.fromkeys(batch))
        used = [n for n in used if n not in order] + order
        assert len(kept) <= max_keys
        assert set(used[-(max_keys // 2) :]) <= kept
        assert len(known | set(batch)) - forgotten == len(kept)
        if len(known | set(batch)) <= max_keys:
            assert forgotten == 0
        known = kept


@pytest.mark.parametrize(("max_keys", "kept_keys"), [(9, 8), (8, 8), (7, 7), (3, 3), (2, 2)])
def test_a_state_with_a_lower_bound_keeps_the_last_used_keys(max_keys: int, kept_keys: int) -> None:
    state = KeyedState(10, 1e6)
    for n in range(8):
        with call(state):
            state[n]["n"] = n
    other = restored(state, max_keys, 1e6)
    assert other.begin(NOW) == 8 - kept_keys
    assert other.begin(NOW) == 0
    assert set(content(other)) == set(range(8 - kept_keys, 8))
    with call(other):
        other["new"] = 1
    assert len(content(other)) <= max_keys


def test_a_snapshot_is_given_in_parts() -> None:
    state = KeyedState(10_000, 60.0)
    with call(state):
        for n in range(2000):
            state["site", n] = {"n": n}
    stored = state.stored()
    assert stored is not None
    assert len(list(parts_of(stored))) > 5
    assert content(restored(state, 10_000))["site", 1999] == {"n": 1999}
