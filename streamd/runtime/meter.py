"""How a stage has spent its time: busy, blocked or idle. Pure arithmetic on a clock that it is given."""

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
    """The time of one stage, and what came in and went out.

    A stage is in one state at any time, whatever number of workers or batches it has:

    - *busy* while at least one batch is worked on,
    - else *blocked* while at least one batch, or a worker without one, has something to do and has to wait
      for another stage, for its turn in the line of batches or for its turn of the event loop,
    - else *idle*: there is nothing to do.

    What each stage works on, and what it waits for:

    - The intake of a source is busy while frames wait in its buffer for a worker, and blocked while the
      buffer has stopped its reader (`when_full = "block"`). Reading itself is not timed.
    - Workers are busy while they decode and run the steps that do not wait. They are blocked while a sink's
      buffer has no room, while a step has no slot for a batch or batches before it have to pass first, and
      while frames wait and the event loop does other work. A batch that a waiting step works on is the
      step's. What comes into an idle group shows with its next turn of the loop, microseconds later.
    - A step that waits is busy while it works on a batch, and blocked while a batch that is done has to let
      the one before it pass.
    - A sink is busy while it writes, and blocked from an error to the write that succeeds, the tries between
      included. It is idle while nothing waits, and while what waits is kept for company until `max_wait`. A
      write ends when the event loop hears of it: a step that holds up the loop makes sinks look busy.

    Each change of state gives the time before it to the state that ends, so the three sum to the elapsed
    time to the nanosecond, and none ever falls. A clock reading older than the one before counts as that one.
    """

    __slots__ = ("_began_ns", "_since_ns", "_spent_ns", "entered", "left", "state")

    def __init__(self, mono_s: float) -> None:
        self._began_ns = self._since_ns = int(mono_s * _NS)
        self._spent_ns: dict[State, int] = {"busy": 0, "blocked": 0, "idle": 0}
        self.state: State = "idle"
        self.entered = 0
        """Records that came to the stage (of a source and of workers: frames)."""
        self.left = 0
        """Records that left it for the next stage, or are stored (of a source: frames)."""

    def to(self, state: State, mono_s: float) -> None:
        """The stage is in this state from now on."""
        now_ns = int(mono_s * _NS)
        if now_ns > self._since_ns:
            self._spent_ns[self.state] += now_ns - self._since_ns
            self._since_ns = now_ns
        self.state = state

    def times(self, mono_s: float) -> Times:
        """Up to now, the state that lasts included."""
        now_ns = max(int(mono_s * _NS), self._since_ns)
        spent_ns = self._spent_ns | {self.state: self._spent_ns[self.state] + now_ns - self._since_ns}
        return Times(
            (now_ns - self._began_ns) / _NS,
            spent_ns["busy"] / _NS,
            spent_ns["blocked"] / _NS,
            spent_ns["idle"] / _NS,
        )


class SharedMeter(Meter):
    """The meter of a stage that may have several batches at one time, each worked on or held up."""

    __slots__ = ("_backlog", "_held", "under_way")

    def __init__(self, mono_s: float) -> None:
        super().__init__(mono_s)
        self.under_way = 0
        """Batches that are worked on."""
        self._held = 0
        self._backlog = False

    def begin(self, mono_s: float) -> None:
        """One more batch is worked on."""
        self.under_way += 1
        if self.under_way == 1:
            self.to("busy", mono_s)

    def end(self, mono_s: float, *, backlog: bool | None = None) -> None:
        """One batch fewer is worked on. `backlog`: whether others wait that no worker has taken; None: as
        before.
        """
        self.under_way -= 1
        if backlog is not None:
            self._backlog = backlog
        if not self.under_way:
            self.to("blocked" if self._backlog or self._held else "idle", mono_s)

    def hold(self, mono_s: float) -> None:
        """One more has something to do and has to wait."""
        self._held += 1
        if not self.under_way:
            self.to("blocked", mono_s)

    def release(self, mono_s: float) -> None:
        """One of those that had to wait does so no more."""
        self._held -= 1
        if not self.under_way and not self._held and not self._backlog:
            self.to("idle", mono_s)
