"""Two queues one behind the other: source buffer, workers, sink buffer, sink; integrated exactly.

Rates are constant between two events, an event being a queue that becomes empty or full. So the occupancy is
piecewise linear (fluid model; Newell, "Applications of Queueing Theory", 1982, chapter 2), and each piece is
computed at once, without steps of time.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

_SAME = 1e-9
"""Events whose times differ by a smaller share happen at once."""


class QueueBounds(NamedTuple):
    """How much a buffer holds, and what it does when it is full."""

    max_records: float
    max_bytes: float
    record_bytes: float
    when_full: Literal["block", "drop_newest", "drop_oldest"]

    @property
    def most(self) -> float:
        """Records at which the first of both bounds is reached."""
        if self.record_bytes <= 0:
            return self.max_records
        return min(self.max_records, self.max_bytes / self.record_bytes)


class Passed(NamedTuple):
    """What happened in some seconds. Frames at the source, records at the sink; fractions included."""

    arrived: float
    lost_outside: float
    """What senders had to keep and could not."""
    lost_at_source: float
    processed: float
    lost_at_sink: float
    stored: float
    first_loss_s: float | None
    """Seconds from the start to the first loss. None if nothing was lost."""


class TandemPiece(NamedTuple):
    """Some seconds between two events, in which all rates were constant."""

    seconds: float
    passed: Passed
    takes_per_s: float
    """What the workers can take; less than their own rate while a full sink stops them."""
    stores_per_s: float
    """What the sink can take."""


class Tandem:
    """The state of both buffers.

    These hold exactly, up to rounding: `arrived = lost_outside + lost_at_source + processed + change of
    source_frames and of held_back`, `processed · records_per_frame = lost_at_sink + stored + change of
    sink_records`.
    """

    __slots__ = (
        "held_back",
        "outside",
        "records_per_frame",
        "sink",
        "sink_records",
        "source",
        "source_frames",
    )

    def __init__(
        self,
        source: QueueBounds,
        sink: QueueBounds,
        *,
        records_per_frame: float = 1.0,
        source_frames: float = 0.0,
        sink_records: float = 0.0,
        outside: float = math.inf,
    ) -> None:
        """Begin with these occupancies. Raises ValueError for bounds or amounts that cannot be."""
        self.source = source
        self.sink = sink
        self.records_per_frame = records_per_frame
        self.source_frames = source_frames
        self.sink_records = sink_records
        self.held_back = 0.0
        """Frames that senders keep because a source with the policy `block` has no room. They come first."""
        self.outside = outside
        """The most frames that they keep, as the kernel's buffer of a datagram socket. More are lost."""
        for bounds, held in ((source, source_frames), (sink, sink_records)):
            if not (bounds.most > 0 and 0 <= held <= bounds.most):
                raise ValueError(f"a buffer cannot hold {held:g} records of {bounds}")
        if not 0 <= records_per_frame < math.inf:
            raise ValueError(f"a frame cannot make {records_per_frame:g} records")

    def advance(self, seconds: float, inflow_per_s: float, workers_per_s: float, sink_per_s: float) -> Passed:
        """Go on for `seconds` at constant rates of the inflow and of what workers and sink can take.

        Raises ValueError for a negative or infinite time or rate.
        """
        lost_outside = lost_at_source = processed = lost_at_sink = stored = passed_s = 0.0
        first_loss_s: float | None = None
        for piece in self.pieces(seconds, inflow_per_s, workers_per_s, sink_per_s):
            passed = piece.passed
            if first_loss_s is None and passed.first_loss_s is not None:
                first_loss_s = passed_s
            passed_s += piece.seconds
            lost_outside += passed.lost_outside
            lost_at_source += passed.lost_at_source
            processed += passed.processed
            lost_at_sink += passed.lost_at_sink
            stored += passed.stored
        arrived = inflow_per_s * seconds
        return Passed(arrived, lost_outside, lost_at_source, processed, lost_at_sink, stored, first_loss_s)

    def pieces(
        self, seconds: float, inflow_per_s: float, workers_per_s: float, sink_per_s: float
    ) -> Iterator[TandemPiece]:
        """As `advance`, from one event to the next: the amounts are those after the piece."""
        given = (seconds, inflow_per_s, workers_per_s, sink_per_s)
        if not all(0 <= one < math.inf for one in given):
            raise ValueError(f"times and rates must be 0 or more, and finite: {given}")
        passed_s = 0.0
        while passed_s < seconds:
            rates = self._rates(inflow_per_s, workers_per_s, sink_per_s)
            step_s = self._step(rates, seconds - passed_s)
            passed_s = seconds if step_s >= seconds - passed_s else passed_s + step_s
            loses = rates.lost_outside > 0 or rates.lost_at_source > 0 or rates.lost_at_sink > 0
            passed = Passed(
                inflow_per_s * step_s,
                rates.lost_outside * step_s,
                rates.lost_at_source * step_s,
                rates.processed * step_s,
                rates.lost_at_sink * step_s,
                rates.stored * step_s,
                0.0 if loses else None,
            )
            yield TandemPiece(step_s, passed, rates.takes, sink_per_s)

    def _rates(self, inflow_per_s: float, workers_per_s: float, sink_per_s: float) -> "_Rates":
        is_source_full = self.source_frames >= self.source.most
        is_sink_full = self.sink_records >= self.sink.most
        takes = workers_per_s
        if is_sink_full and self.sink.when_full == "block" and self.records_per_frame > 0:
            takes = min(takes, sink_per_s / self.records_per_frame)
        processed = takes if self.source_frames > 0 else min(takes, inflow_per_s)
        more = inflow_per_s - processed
        held = lost_outside = lost_at_source = 0.0
        if is_source_full and self.source.when_full == "block" and (self.held_back > 0 or more > 0):
            held, more = more, 0.0
            if self.held_back >= self.outside and held > 0:
                lost_outside, held = held, 0.0
        elif is_source_full and more > 0:
            lost_at_source, more = more, 0.0
        made = processed * self.records_per_frame
        stored = sink_per_s if self.sink_records > 0 else min(sink_per_s, made)
        waiting = made - stored
        lost_at_sink = 0.0
        if is_sink_full and waiting > 0:
            # With `block` this is only the rounding of `takes`.
            lost_at_sink = 0.0 if self.sink.when_full == "block" else waiting
            waiting = 0.0
        return _Rates(
            held, more, waiting, lost_outside, lost_at_source, processed, lost_at_sink, stored, takes
        )

    def _step(self, rates: "_Rates", most_s: float) -> float:
        """Change the occupancies until the next event, at most for `most_s`; returns the seconds."""
        events_s = (
            _event_s(self.held_back, rates.held, self.outside),
            _event_s(self.source_frames, rates.source, self.source.most),
            _event_s(self.sink_records, rates.sink, self.sink.most),
        )
        step_s = min(most_s, *events_s)
        # An amount that reaches its limit is set to it, because rounding must not leave a remainder.
        held_s, source_s, sink_s = events_s
        last_s = step_s * (1 + _SAME)
        self.held_back = _moved(self.held_back, rates.held, step_s, self.outside, held_s <= last_s)
        self.source_frames = _moved(
            self.source_frames, rates.source, step_s, self.source.most, source_s <= last_s
        )
        self.sink_records = _moved(self.sink_records, rates.sink, step_s, self.sink.most, sink_s <= last_s)
        return step_s


class _Rates(NamedTuple):
    """Changes of the three amounts, then flows, each second, and what the workers can take."""

    held: float
    source: float
    sink: float
    lost_outside: float
    lost_at_source: float
    processed: float
    lost_at_sink: float
    stored: float
    takes: float


def _event_s(held: float, rate: float, most: float) -> float:
    """Seconds until an amount that changes at `rate` is 0 or `most`."""
    if rate > 0:
        return (most - held) / rate
    return held / -rate if rate < 0 else math.inf


def _moved(held: float, rate: float, seconds: float, most: float, is_at_end: bool) -> float:
    if is_at_end:
        return most if rate > 0 else 0.0
    return min(most, max(0.0, held + rate * seconds))
