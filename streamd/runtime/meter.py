"""Measures the time that a stage is busy, blocked and idle. Pure arithmetic on times given as arguments."""

from typing import Literal, NamedTuple

State = Literal["busy", "blocked", "idle"]

_NS = 1_000_000_000


class Times(NamedTuple):
    """Seconds since the meter began: `busy_s`, `blocked_s` and `idle_s` add up to `elapsed_s`."""

    elapsed_s: float
    busy_s: float
    blocked_s: float
    idle_s: float


class Meter:
    """The busy, blocked and idle time of one stage, and the records that entered and left it.

    A stage is in one state at any time, independent of its number of workers or batches:

    - *busy* while at least one batch is processed;
    - else *blocked* while at least one batch or worker has something to do, but waits for another stage, for
      an earlier batch or for the event loop;
    - else *idle*.

    The states of each stage:

    - The intake of a source is busy while frames wait in its buffer for a worker. It is blocked while the
      buffer has stopped the source (`when_full = "block"`). Reading itself is not timed.
    - Workers are busy while they decode and run the steps that do not wait. They are blocked while a sink's
      buffer has no room, while a step has no slot for a batch or has to finish earlier batches, and while
      frames wait and the event loop does other work. The time in a waiting step counts for the step. If
      frames reach idle workers, the state changes in the next turn of the loop, microseconds later.
    - A waiting step is busy while it processes a batch. It is blocked while a finished batch has to wait for
      an earlier one.
    - A sink is busy while it writes. It is blocked from an error to the next successful write, including the
      retries. It is idle while no record waits, and while records wait for others until `max_wait`. A write
      ends when the event loop processes its result, so a step that blocks the loop makes sinks look busy.

    Each change of state adds the time since the last change to the old state. So the three times sum to the
    elapsed time to the nanosecond and never fall. A clock reading before the last one counts as the last one.
    """

    __slots__ = ("_began_ns", "_since_ns", "_spent_ns", "batches", "entered", "left", "state")

    def __init__(self, mono_s: float) -> None:
        self._began_ns = self._since_ns = int(mono_s * _NS)
        self._spent_ns: dict[State, int] = {"busy": 0, "blocked": 0, "idle": 0}
        self.state: State = "idle"
        self.entered = 0
        """Records that entered the stage; for a source and for workers: frames."""
        self.left = 0
        """Records that left for the next stage or were stored; for a source: frames."""
        self.batches = 0
        """Batches that the stage has finished. Not counted for a source."""

    def to(self, state: State, mono_s: float) -> None:
        """Change the state at `mono_s`."""
        now_ns = int(mono_s * _NS)
        if now_ns > self._since_ns:
            self._spent_ns[self.state] += now_ns - self._since_ns
            self._since_ns = now_ns
        self.state = state

    def times(self, mono_s: float) -> Times:
        """The times up to `mono_s`, including the current state."""
        now_ns = max(int(mono_s * _NS), self._since_ns)
        spent_ns = self._spent_ns | {self.state: self._spent_ns[self.state] + now_ns - self._since_ns}
        return Times(
            (now_ns - self._began_ns) / _NS,
            spent_ns["busy"] / _NS,
            spent_ns["blocked"] / _NS,
            spent_ns["idle"] / _NS,
        )


class SharedMeter(Meter):
    """The meter of a stage that may have several batches at the same time, each under way or waiting."""

    __slots__ = ("_backlog", "_held", "under_way")

    def __init__(self, mono_s: float) -> None:
        super().__init__(mono_s)
        self.under_way = 0
        """Number of batches that are processed."""
        self._held = 0
        self._backlog = False

    def begin(self, mono_s: float) -> None:
        """One more batch is processed."""
        self.under_way += 1
        if self.under_way == 1:
            self.to("busy", mono_s)

    def end(self, mono_s: float, *, backlog: bool | None = None) -> None:
        """One batch fewer is processed.

        `backlog`: whether frames wait that no worker has taken; None keeps the last value.
        """
        self.under_way -= 1
        if backlog is not None:
            self._backlog = backlog
        if not self.under_way:
            self.to("blocked" if self._backlog or self._held else "idle", mono_s)

    def hold(self, mono_s: float) -> None:
        """One more batch or worker has something to do and waits."""
        self._held += 1
        if not self.under_way:
            self.to("blocked", mono_s)

    def release(self, mono_s: float) -> None:
        """One batch or worker stops waiting."""
        self._held -= 1
        if not self.under_way and not self._held and not self._backlog:
            self.to("idle", mono_s)
