"""The object of a user's class: its clock and its state."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from streamd.core.contracts import DROP, Processed
from streamd.core.now import Now
from streamd.core.state_parts import parts_of
from streamd.functions.context import Context
from streamd.functions.keyed_state import KeyedState, StateChanges, Stored
from streamd.functions.reference import Named
from streamd.functions.results import batch_made

_State = tuple[Literal["python"], bytes | None, Stored | None]
"""The snapshot of a class with `open`: the bytes of its own `snapshot`, and the state by key."""
_MARK = msgspec.msgpack.encode(("python", None, None))[:8]
"""How the snapshot of a class with `open` begins. A class without `open` stores its own bytes alone."""


class UserObject:
    """One object of a class, with a context if the class has `open`."""

    def __init__(self, named: Named, new_context: Callable[[], Context]) -> None:
        """Make the object and call its `open`. Raises any exception of both."""
        self._has_snapshot = named.has("snapshot")
        its: Any = named.make()
        self._its = its
        self.context: Context | None = None
        if named.has("open"):
            self.context = new_context()
            its.open(self.context)
        self.function: Callable[[Any], Any] = its.process if named.takes_batches else its
        """What is called with a record or a batch."""

    async def close(self) -> None:
        """Call its `close` if it has one. Raises any exception of that method."""
        close = getattr(self._its, "close", None)
        if callable(close):
            done = close()
            if inspect.isawaitable(done):
                await done

    def next_deadline(self) -> float | None:
        """What its `next_deadline` returns."""
        deadline: float | None = self._its.next_deadline()
        return deadline

    def tick(self, now: Now) -> tuple[Processed, StateChanges | None]:
        """The records of its `tick`, and the changes of its state. Raises any exception of that method."""
        if self.context is None:
            return _ticked(self._its.tick(now)), None
        with self.context.batch(now) as changes:
            done = _ticked(self._its.tick(now))
            changes.keep()
        return done, changes

    def survives(self, changes: StateChanges | None) -> bool:
        """Whether what it keeps is in its snapshots. `changes` are not yet in its state."""
        if self._has_snapshot or self.context is None:
            return self._has_snapshot
        return self.context.kept.is_used or bool(changes is not None and changes.packed)

    def snapshot_parts(self) -> Iterator[bytes]:
        """Its snapshot and its state by key. Raises any exception of its `snapshot`."""
        own: bytes | None = self._its.snapshot() if self._has_snapshot else None
        if own is not None and type(own) is not bytes:
            raise TypeError(f"snapshot returned {type(own).__name__} instead of bytes or None")
        if self.context is None:
            yield own or b""
            return
        yield from snapshot_of(own, self.context.kept)

    def restore(self, state: bytes, now: Now) -> None:
        """Take a snapshot: the state by key first, then its own. Raises any exception of its `restore`."""
        if self.context is None:
            if state.startswith(_MARK):
                raise ValueError("it is the state of a class with open(context)")
            self._its.restore(state)
            return
        own = restore_kept(state, self.context.kept, now)
        if own is not None:
            with self.context.batch(now) as changes:
                self._its.restore(own)
                changes.keep()
            self.context.put(changes)


def snapshot_of(own: bytes | None, kept: KeyedState) -> Iterator[bytes]:
    """The snapshot of a class with `open`: the bytes of its own `snapshot`, and its state by key."""
    stored = kept.stored()
    if own or stored is not None:
        yield from parts_of(("python", own or None, stored))


def restore_kept(state: bytes, kept: KeyedState, now: Now) -> bytes | None:
    """Restore the state by key from a snapshot; returns the bytes of the own `snapshot` of the class."""
    snapshot: _State = msgspec.msgpack.decode(state, type=_State)
    _, own, stored = snapshot
    if stored is not None:
        kept.restore(stored, now)
    return own


def _ticked(made: Any) -> Processed:
    """The result of `tick`. Raises `BadResult`."""
    return batch_made([], [made] if isinstance(made, dict) else [] if made in (None, DROP) else made, [])
