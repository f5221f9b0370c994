"""A bounded memory of keys in two generations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from streamd.core.record_key import Key
from streamd.core.state_parts import Entries

V = TypeVar("V")


class Generations(Generic[V]):
    """Values by key in two dicts. `older` is dropped as a whole, so no key is deleted one by one.

    A value is of no use after `lifetime_s`, so a generation may be dropped when its last value is that old.
    If `max_keys` keys are remembered, the older half is dropped earlier. So at least the newest
    `max_keys / 2` keys are always remembered.

    Users read and write `newer` and `older` themselves, because a call for each record would cost more than
    the rest. They call `turn` for each batch, `make_room` before a new key is put into a full `newer`, and
    `put` after the batch.
    """

    __slots__ = ("_began_s", "_lifetime_s", "half", "max_keys", "newer", "older")

    def __init__(self, max_keys: int, lifetime_s: float) -> None:
        self.newer: dict[Key, V] = {}
        self.older: dict[Key, V] = {}
        self.max_keys = max_keys
        self.half = max_keys // 2
        """Number of keys of a full generation."""
        self._lifetime_s = lifetime_s
        self._began_s: float | None = None
        """When the generation began: with the first batch after the last turn; None before it."""

    def __len__(self) -> int:
        return len(self.newer) + len(self.older)

    def turn(self, at_s: float) -> dict[Key, V]:
        """Begin a new generation if the newer one is old enough. Returns the dropped values, all outlived."""
        if self._began_s is None or at_s - self._began_s < self._lifetime_s:
            return {}
        return self._turn()

    def make_room(self, at_s: float) -> dict[Key, V]:
        """Begin a new generation because the newer one is full. Returns the dropped values."""
        dropped = self._turn()
        self._began_s = at_s
        return dropped

    def add_new(self, keys: Sequence[Key], value: V) -> bool:
        """Put a value for all keys into `newer` if they differ and none is remembered; whether they were put.

        Costs a quarter of a loop over the keys. The caller has seen that `newer` has room for them.
        """
        new = dict.fromkeys(keys, value)
        if len(new) < len(keys):
            return False
        # Loops without other work in them, in which the processor waits for several cache lines at once.
        if not (self.older.keys().isdisjoint(new) and self.newer.keys().isdisjoint(new)):
            return False
        self.newer.update(new)
        return True

    def bring(self, key: Key, new: Callable[[], V]) -> V | None:
        """Bring a key into `newer` that is not there, with its older value or a new one; returns the value.

        If `max_keys` others are remembered, a new key is not taken in and has no value (None).
        """
        value = self.older.pop(key, None)
        if value is None:
            if len(self) >= self.max_keys:
                return None
            value = new()
        self.newer[key] = value
        return value

    def put(self, at_s: float) -> None:
        """Called after a batch. The older keys outlive the time even if no new key comes into `newer`."""
        if self._began_s is None and (self.newer or self.older):
            self._began_s = at_s

    def _turn(self) -> dict[Key, V]:
        dropped = self.older
        self.older, self.newer = self.newer, {}
        self._began_s = None
        return dropped

    @property
    def due_s(self) -> float | None:
        """When `turn` will begin a new generation; None before the first batch of this one."""
        return None if self._began_s is None else self._began_s + self._lifetime_s

    def age_s(self, at_s: float) -> float | None:
        """Age of the newer generation; None before its first batch. For a snapshot."""
        return None if self._began_s is None else at_s - self._began_s

    def stored(self, at_s: float, of: Callable[[V], Any]) -> tuple[float | None, Entries, Entries]:
        """For a snapshot: the age of the newer generation, and both with their values as `of` gives them."""
        return self.age_s(at_s), Entries(self.newer, of), Entries(self.older, of)

    def restore(
        self,
        age_s: float | None,
        newer: Mapping[Key, Any],
        older: Mapping[Key, Any],
        of: Callable[[Any], V],
    ) -> None:
        """Take the generations of a snapshot, with their values as `of` reads them; the clock stands at 0."""
        self._began_s = None if age_s is None else -age_s
        self.newer = {key: of(stored) for key, stored in newer.items()}
        self.older = {key: of(stored) for key, stored in older.items()}
