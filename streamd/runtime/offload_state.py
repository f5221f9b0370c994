"""The state by key of a step in worker processes: all of it in the daemon, and the part of each process."""

from collections.abc import Collection, Mapping
from typing import Any

from streamd.core.contracts import CarriedState, StepContext
from streamd.core.now import Now
from streamd.core.record_key import RecordKey
from streamd.runtime.offload_partitions import owner_of

FORGOTTEN = "forgotten"
"""The counter of keys that the state has forgotten."""


class LaneStates:
    """Gives each process its part of the state, and takes what its batches have changed.

    So a process may end at any time: the next one begins with the state after the last batch whose result was
    used.
    """

    def __init__(
        self, carried: CarriedState, partition: RecordKey | None, count: int, context: StepContext
    ) -> None:
        self._carried = carried
        self._partition = partition
        self._count = count
        self._context = context
        self._forgotten: list[dict[Any, None]] = [{} for _ in range(count)]
        """By process: the keys that it does not know to be forgotten."""
        carried.on_dropped = self._dropped

    def part_of(self, lane: int) -> dict[Any, bytes]:
        """The state for a new process. Keys that no partition has are left out."""
        self._forgotten[lane].clear()
        items = self._carried.packed_items()
        if self._partition is None:
            return dict(items)
        partition, count, size = self._partition, self._count, len(self._partition.names)
        return {key: data for key, data in items if owner_of(key, partition, size, count) == lane}

    def begin(self, lane: int, now: Now) -> dict[Any, None]:
        """Called before a batch; returns the keys that the process has to forget first."""
        self._count_forgotten(self._carried.begin(now))
        keys, self._forgotten[lane] = self._forgotten[lane], {}
        return keys

    def not_told(self, lane: int, keys: dict[Any, None]) -> None:
        """The process was not told to forget these keys."""
        self._forgotten[lane].update(keys)

    def put(self, changes: Mapping[Any, bytes | None]) -> None:
        """Take the changes of a batch whose result is used."""
        forgotten = self._carried.put(changes)
        for keys in self._forgotten:
            if keys:
                for key in changes:
                    keys.pop(key, None)
        self._count_forgotten(forgotten)

    def _count_forgotten(self, count: int) -> None:
        if count:
            self._context.counters.add(FORGOTTEN, count)

    def _dropped(self, keys: Collection[Any]) -> None:
        for lane in self._forgotten:
            lane.update(dict.fromkeys(keys))
