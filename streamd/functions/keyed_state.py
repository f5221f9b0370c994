"""What a user's class keeps by key: bounded, undone if a call fails, and stored in snapshots."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from itertools import islice
from typing import Any

from streamd.core.arrival_clock import ArrivalClock
from streamd.core.generations import Generations
from streamd.core.now import Now
from streamd.core.plural import counted
from streamd.core.state_parts import Entries, as_it_is
from streamd.functions.state_values import BadState, packed, plain_key, unpacked
from streamd.functions.values import shown

_GONE, _UNREAD = object(), object()
"""Stand for the value of a deleted key, and of a key that is not in a dict."""

Packed = dict[Any, bytes | None]
"""Changed values by key as MessagePack; None for a key that is gone."""


Stored = tuple[float, float | None, dict[Any, bytes], dict[Any, bytes]]
"""The wall clock, the age of the newer generation, and the values of both generations."""


class StateChanges:
    """What the calls for one batch have done to a state. Nothing of it is in the state until `put`.

    A batch that runs out of time in its thread is rejected while its call still runs: its changes are never
    put.
    """

    __slots__ = ("live", "now", "packed", "state")

    def __init__(self, state: "KeyedState", now: Now) -> None:
        self.state = state
        self.now = now
        self.live: dict[Any, Any] = {}
        """The values that the current call has read or set."""
        self.packed: Packed = {}
        """The changes of the earlier calls."""

    def keep(self) -> None:
        """Keep the changes of the current call. Raises `BadState`, and then keeps none of them."""
        live = self.live
        if len(live) == 1:  # by far the most frequent
            key, value = live.popitem()
            self.packed[key] = None if value is _GONE else packed(value, key)
            return
        self.packed.update(
            {key: None if value is _GONE else packed(value, key) for key, value in live.items()}
        )
        live.clear()

    def undo(self) -> None:
        """Forget the changes of the current call."""
        self.live.clear()


UNDER_WAY: ContextVar[StateChanges | None] = ContextVar("changes_under_way", default=None)
"""The changes of the call that runs in this thread or task."""


class KeyedState(MutableMapping[Any, Any]):
    """`context.state`: a dict of values that survives restarts, for the calls of a step.

    `state[key]` gives the value of a key, or an empty dict for a new key; changes inside that value are kept.
    It can be used while a record, a batch or a tick is processed. If the call raises an exception, or its
    result is refused, all values are again what they were before the call.

    Keys are texts, numbers, or tuples of these. Values are texts, numbers, booleans, None, bytes, and dicts
    and lists of these; a tuple becomes a list. Beyond `max_keys`, the keys that were not used for longest are
    forgotten. A read value costs about 0.5 µs when it is read and 0.5 µs after the call; a key with three
    numbers takes about 200 bytes.
    """

    def __init__(self, max_keys: int, forget_after_s: float) -> None:
        self._kept = Generations[bytes](max_keys, forget_after_s)
        self._max_keys = max_keys
        self._left_behind = 0
        """Keys of the snapshot that were too many, not yet counted."""
        self._clock = ArrivalClock()
        self.is_used = False
        """Whether a call has read or set a value, or values were restored."""
        self.owns: Callable[[Any], bool] | None = None
        """In one of several processes: whether a key is one of its own. Others are refused."""
        self.on_dropped: Callable[[Collection[Any]], None] | None = None
        """Called with the keys that were forgotten."""

    def __getitem__(self, key: Any) -> Any:
        changes = UNDER_WAY.get()
        if changes is None or changes.state is not self:
            changes = self._changes()
        live = changes.live
        value = live.get(key, _UNREAD)
        if value is not _UNREAD and value is not _GONE:
            return value
        data = self._packed(changes, key) if value is _UNREAD else None
        if data is None:
            key, value = self._own_key(key), {}
        else:
            value = unpacked(data)
        live[key] = value
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        changes = self._changes()
        changes.live[self._own_key(key)] = value

    def __delitem__(self, key: Any) -> None:
        if key not in self:
            raise KeyError(key)
        self._changes().live[plain_key(key)] = _GONE

    def __contains__(self, key: object) -> bool:
        changes = self._changes()
        if key in changes.live:
            return changes.live[key] is not _GONE
        if self._packed(changes, key) is not None:
            return True
        if self.owns is not None:
            self._own_key(key)
        return False

    def __iter__(self) -> Iterator[Any]:
        changes = self._changes()
        keys = dict.fromkeys(self._kept.older)
        keys |= dict.fromkeys(self._kept.newer)
        keys |= dict.fromkeys(changes.packed)
        keys |= dict.fromkeys(changes.live)
        return iter([key for key in keys if key in self])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of the key; `default` if there is none."""
        return self[key] if key in self else default  # noqa: SIM401 - this is `get`

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value of the key, which is `default` from now on if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove the key and return its value; `default` if there is none. Raises `KeyError`."""
        if key not in self:
            if default:
                return default[0]
            raise KeyError(key)
        value = self[key]
        del self[key]
        return value

    def clear(self) -> None:
        """Remove all keys."""
        self._changes().live.update(dict.fromkeys(self, _GONE))

    def __repr__(self) -> str:
        return f"<context.state of {counted(len(self._kept), 'key')}>"

    def begin(self, now: Now) -> int:
        """Called before a batch; returns the number of keys that were not used for long and are forgotten."""
        left_behind, self._left_behind = self._left_behind, 0
        dropped = self._kept.turn(self._clock.read(now))
        if dropped and self.on_dropped is not None:
            self.on_dropped(dropped.keys())
        return len(dropped) + left_behind

    def put(self, changes: Mapping[Any, bytes | None]) -> int:
        """Put the changes of a batch into the state; returns the number of keys that had to be forgotten."""
        kept, at_s = self._kept, self._clock.at_s
        dropped: set[Any] = set()
        for key, data in changes.items():
            if data is not None and kept.newer.pop(key, None) is not None:  # then it is not in the older ones
                kept.newer[key] = data  # behind the others, in the order of their last use
                continue
            is_new = kept.older.pop(key, None) is None
            if data is None:
                kept.newer.pop(key, None)
                continue
            if is_new and len(kept) >= self._max_keys:
                if not kept.older:
                    kept.make_room(at_s)
                dropped.update(self._drop())
            kept.newer[key] = data
            if not kept.older and len(kept.newer) >= kept.half:
                kept.make_room(at_s)
        kept.put(at_s)
        self.is_used = self.is_used or bool(changes)
        if dropped:
            dropped.difference_update(kept.newer, kept.older)  # a dropped key may have been put again
            if self.on_dropped is not None:
                self.on_dropped(dropped)
        return len(dropped)

    def packed_items(self) -> Iterator[tuple[Any, bytes]]:
        """All keys and their values as MessagePack, those first that were not used for longest."""
        yield from self._kept.older.items()
        yield from self._kept.newer.items()

    def forget(self, keys: Iterable[Any]) -> None:
        """Remove keys outside of a batch."""
        for key in keys:
            self._kept.newer.pop(key, None)
            self._kept.older.pop(key, None)

    def _drop(self) -> list[Any]:
        """Forget the older keys, at most the half of `max_keys`. Returns them."""
        kept = self._kept
        dropped = list(islice(kept.older, kept.half))
        if len(dropped) == len(kept.older):
            kept.older = {}
        else:  # all keys were used since the generation began
            kept.older = dict(islice(kept.older.items(), kept.half, None))
        return dropped

    def stored(self) -> tuple[float, float | None, Entries, Entries] | None:
        """The state for a snapshot; None if it is empty."""
        if not self._kept:
            return None
        return self._clock.wall_s, *self._kept.stored(self._clock.at_s, as_it_is)

    def restore(self, stored: Stored, now: Now) -> None:
        """Go on from a snapshot. If it has more than `max_keys` keys, the last used ones are kept."""
        wall_s, age_s, newer, older = stored
        if (excess := len(newer) + len(older) - self._max_keys) > 0:
            self._left_behind = excess
            newer = dict(islice(newer.items(), max(0, excess - len(older)), None))
            older = dict(islice(older.items(), excess, None))
        self._clock.restore(wall_s, now)
        self._kept.restore(age_s, newer, older, as_it_is)
        self.is_used = True

    def _packed(self, changes: StateChanges, key: Any) -> bytes | None:
        """The value without the changes of the current call."""
        data: Any = changes.packed.get(key, _UNREAD)
        if data is _UNREAD:
            data = self._kept.newer.get(key)
            if data is None:
                data = self._kept.older.get(key)
        return data  # type: ignore[no-any-return]  # `_UNREAD` is none of the values

    def _own_key(self, key: Any) -> Any:
        key = plain_key(key)
        if self.owns is not None and not self.owns(key):
            raise BadState(
                f"context.state[{shown(key)}]: with partition_by, a key of the state is the value of its"
                " field in the record, or a tuple that begins with the values of its fields: others may"
                " belong to another process",
                "a key of the state that does not follow from partition_by",
            )
        return key

    def _changes(self) -> StateChanges:
        changes = UNDER_WAY.get()
        if changes is None or changes.state is not self:
            raise RuntimeError(
                "context.state can be used only while a record, a batch or a tick is processed, and in the"
                " thread of that call"
            )
        return changes
