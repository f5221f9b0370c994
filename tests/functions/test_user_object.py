from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamd.core.contracts import DROP
from streamd.core.counters import Counters
from streamd.core.now import Now
from streamd.functions.context import Context
from streamd.functions.keyed_state import KeyedState
from streamd.functions.reference import Named
from streamd.functions.user_object import UserObject

NOW = Now(1e9, 5.0)


class Plain:
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.made: Any = None

    def __call__(self, record: Any) -> Any:
        return record

    def tick(self, now: Now) -> Any:
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


class WithOpen(Plain):
    def open(self, context: Context) -> None:
        self.calls.append("open")
        self.context = context

    def tick(self, now: Now) -> Any:
        self.context.state["ticks"] = self.context.state.get("ticks", 0) + 1
        assert self.context.now == now
        return super().tick(now)


class Saves(Plain):
    saved: Any = b"saved"

    def snapshot(self) -> Any:
        return self.saved

    def restore(self, state: bytes) -> None:
        self.calls.append(state)


class Both(WithOpen, Saves):
    def restore(self, state: bytes) -> None:
        self.context.state["restored"] = self.context.state.get("ticks")
        super().restore(state)


def new_context() -> Context:
    return Context("python[0]", "main", KeyedState(10, 60.0), Counters())


def made(kind: type) -> tuple[UserObject, Any]:
    its = UserObject(Named("given:it", Path(), {}, given=kind), new_context)
    return its, its.function


def content(its: UserObject) -> dict[Any, Any]:
    assert its.context is not None
    with its.context.batch(NOW):
        return dict(its.context.state.items())


def snapshot(its: UserObject) -> bytes:
    return b"".join(its.snapshot_parts())


@pytest.mark.parametrize(
    ("result", "records"),
    [(None, []), (DROP, []), ([], []), ({"a": 1}, [{"a": 1}]), ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}])],
)
@pytest.mark.parametrize("kind", [Plain, WithOpen])
def test_a_tick_returns_a_record_several_or_none(kind: type, result: Any, records: list[Any]) -> None:
    its, user = made(kind)
    user.made = result
    assert its.tick(NOW)[0].records == records


@pytest.mark.parametrize("result", [ValueError("no"), 5, [5]])
def test_a_tick_that_fails_changes_nothing(result: Any) -> None:
    its, user = made(WithOpen)
    user.made = result
    with pytest.raises(Exception, match=r"no|the function returned int"):
        its.tick(NOW)
    assert content(its) == {}


def test_the_changes_of_a_tick_are_put_by_the_step() -> None:
    its, _ = made(WithOpen)
    _, changes = its.tick(NOW)
    assert content(its) == {}
    assert (changes is not None, its.survives(None), its.survives(changes)) == (True, False, True)
    assert its.context is not None
    assert changes is not None
    its.context.put(changes)
    assert content(its) == {"ticks": 1}
    assert its.survives(None)


@pytest.mark.parametrize(
    ("kind", "survives"), [(Plain, False), (Saves, True), (WithOpen, False), (Both, True)]
)
def test_what_is_in_no_snapshot_does_not_survive(kind: type, survives: bool) -> None:
    assert made(kind)[0].survives(None) is survives


def test_a_class_without_open_stores_its_own_bytes() -> None:
    its, _ = made(Saves)
    assert snapshot(its) == b"saved"
    other, user = made(Saves)
    other.restore(b"saved", NOW)
    assert user.calls == [b"saved"]


@pytest.mark.parametrize(("saved", "restored"), [(b"own", [b"own"]), (b"", []), (None, [])])
def test_the_state_by_key_is_there_when_restore_is_called(saved: Any, restored: list[bytes]) -> None:
    its, user = made(Both)
    user.saved = saved
    _, changes = its.tick(NOW)
    assert its.context is not None
    assert changes is not None
    its.context.put(changes)
    other, user = made(Both)
    other.restore(snapshot(its), NOW)
    assert user.calls == ["open", *restored]
    assert content(other) == {"ticks": 1} | ({"restored": 1} if restored else {})


def test_nothing_to_store_is_no_snapshot() -> None:
    assert snapshot(made(WithOpen)[0]) == b""
    its, user = made(Both)
    user.saved = b""
    assert snapshot(its) == b""


@pytest.mark.parametrize("saved", ["text", bytearray(b"x"), 5])
@pytest.mark.parametrize("kind", [Saves, Both])
def test_a_snapshot_that_is_not_bytes_is_refused(kind: type, saved: Any) -> None:
    its, user = made(kind)
    user.saved = saved
    with pytest.raises(TypeError, match=f"snapshot returned {type(saved).__name__} instead of bytes"):
        snapshot(its)


@pytest.mark.parametrize(
    "change",
    [lambda state: state[:-1], lambda _: b"", lambda _: msgspec.msgpack.encode(("other", None, None))],
)
def test_a_state_of_something_else_is_refused(change: Callable[[bytes], bytes]) -> None:
    its, _ = made(Both)
    state = snapshot(its)
    with pytest.raises(ValueError, match=r"."):
        made(Both)[0].restore(change(state), NOW)
    with pytest.raises(ValueError, match="state of a class with open"):
        made(Saves)[0].restore(state, NOW)
    with pytest.raises(ValueError, match=r"."):
        made(Both)[0].restore(b"saved", NOW)


async def test_close_is_called_or_awaited_if_there_is_one() -> None:
    closed: list[str] = []

    class Closes(Plain):
        def close(self) -> None:
            closed.append("close")

    class ClosesLater(Plain):
        async def close(self) -> None:
            closed.append("async close")

    for kind in (Plain, Closes, ClosesLater):
        await made(kind)[0].close()
    assert closed == ["close", "async close"]
