"""The search for the records that a worker process does not survive, in a batch that was lost.

The records of the batch are processed again in parts, in order. If the step handles each record by itself, a
part is one record; otherwise it is half of the part that was lost. A part of one record that is lost again is
rejected.
"""

from collections import deque
from math import ceil, log2

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed
from streamd.runtime.offload_errors import Lost

TIMEOUTS = 12
"""The search takes at most this many times the `timeout` of a batch. In a batch of 1024, it takes ten of them
to find a record that hangs."""
DOUBTFUL_LOSSES = 2
"""Most losses of a search after one in which every part was lost."""


class Search:
    """The search in one batch. The caller processes each part of `next`, and reports `passed` or `failed`."""

    def __init__(
        self,
        records: list[Record],
        lost: Lost,
        *,
        each: bool,
        doubtful: bool,
        at_s: float,
        timeout_s: float,
    ) -> None:
        """`each`: the step handles each record by itself. `doubtful`: no part of the last search passed."""
        self.done = Processed([], owners=[])
        """The results so far."""
        self.losses = 1
        """The number of processes that were lost."""
        self.has_passed = False
        """Whether a part has passed."""
        size = len(records)
        self._most_losses = DOUBTFUL_LOSSES if doubtful else 2 * ceil(log2(size)) + 2
        self._until_s = at_s + TIMEOUTS * timeout_s
        self._each = each
        self._last = lost
        self._part: list[Record] = records
        self._parts: deque[list[Record]] = deque()
        self._is_rest = False
        if size > 1:
            self._divide()
        else:
            self._parts.append(records)

    def next(self, at_s: float) -> list[Record]:
        """The next part; empty when the search is over.

        After too many losses the rest is one last part, if others have passed; otherwise it is rejected.
        """
        if self._parts and at_s >= self._until_s:
            self._reject_untried(self._rest())
        elif self._parts and self.losses >= self._most_losses:
            rest = self._rest()
            if self.has_passed:
                self._parts.append(rest)
                self._is_rest = True
            else:
                self._reject_untried(rest)
        self._part = self._parts.popleft() if self._parts else []
        return self._part

    def passed(self, done: Processed) -> None:
        """The part was processed."""
        self.has_passed = True
        whole = self.done
        whole.records += done.records
        whole.filtered += done.filtered
        whole.absorbed += done.absorbed
        whole.emitted += done.emitted
        if done.owners is None or whole.owners is None:
            whole.owners = None
        else:
            whole.owners += done.owners
        whole.rejects += done.rejects
        whole.holds = [*whole.holds, *done.holds]
        whole.failures = [*whole.failures, *done.failures]

    def failed(self, lost: Lost) -> None:
        """The part was lost."""
        self._last = lost
        self.losses += 1
        if lost.is_of_age:
            self._parts.appendleft(self._part)
        elif len(self._part) > 1 and not self._is_rest:
            self._divide()
        else:
            self._reject(self._part, lost.detail)

    def give_up(self, lost: Lost) -> None:
        """No process can be started for the part: reject it and all after it."""
        self._last = lost
        self._reject([*self._part, *self._rest()], lost.detail)

    def _rest(self) -> list[Record]:
        rest = [record for part in self._parts for record in part]
        self._parts.clear()
        return rest

    def _divide(self) -> None:
        if self._each:
            self._parts.extendleft([record] for record in reversed(self._part))
        else:
            middle = (len(self._part) + 1) // 2
            self._parts.extendleft((self._part[middle:], self._part[:middle]))

    def _reject_untried(self, records: list[Record]) -> None:
        self._reject(
            records,
            f"not tried again, because {self.losses} processes were lost with its batch; the last one: "
            f"{self._last.detail}",
        )

    def _reject(self, records: list[Record], detail: str) -> None:
        last = self._last
        self.done.rejects += [
            BadRecord(record, last.reason, detail, last.error, last.kind) for record in records
        ]
