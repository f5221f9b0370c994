"""The step `statsd_aggregate`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, model_validator

from streamd.core.batch import RECEIVED_AT, Record
from streamd.core.columns import Columns, RecordColumns
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData
from streamd.core.field_names import FieldName, FieldNames, refuse_unknown
from streamd.core.now import Now
from streamd.core.settings import DurationS, Settings
from streamd.core.state_parts import parts_of
from streamd.core.statsd_line import GAUGE_DELTA
from streamd.windows.cells import CELLS, GAUGE, SET
from streamd.windows.grid import FixedGrid
from streamd.windows.losses import Losses
from streamd.windows.moments import NEVER, moments_of_columns, text_of
from streamd.windows.options import DEFAULT_MAX_FUTURE_S, LONGEST_S, microseconds
from streamd.windows.series import NO_TAGS, Finished, Series, SeriesWindows

MOST_RESULTS = 4096
"""Most results of one tick; the next tick follows at once."""
LOOK_AGAIN_S = 0.5
"""Time between two looks at buffers that are not empty when a window is due."""
IDLE_S = 30.0
"""With `time`: how long no record comes before the clock closes windows."""
_LONGEST_SERIES = 1024
"""Longest name with tags, in characters; a longer one shares the series `_other`."""
_LEAST_RATE = 1e-9
_MOST_PERCENTILES = 32
_FIELDS = ("name", "type", "value", "member", "sample_rate", "tags")
_METRICS = frozenset((*CELLS, GAUGE_DELTA))
_RESULT = (
    "name", "type", "tags", "window_start", "window_end", "value", "count", "rate", "sum", "mean", "min",
    "max", "stddev", "complete",
)  # fmt: skip
_ALL = 100
"""The greatest rank of a percentile."""


class StatsdAggregate(Step["StatsdAggregate.Config"]):
    """Aggregates the metrics of the codec `statsd` every `interval`, as a StatsD server does.

    A series is a type, a name and tags. Each interval gives one record for each series that was sent, with
    `name`, `type`, `tags`, `window_start`, `window_end`, `complete` (false if records may be missing), and:

    - counter, meter: `value`, the sum, each value divided by its sample rate; `rate`, the sum a second;
      `count`
    - gauge: `value`, the last one with the changes after it; `count`. A gauge gives a record in each interval
      until it was not sent for `ttl`; one that is only changed begins at 0
    - timer, histogram, distribution: `count`, `rate`, `sum`, `mean`, `min`, `max`, `stddev` (of all values,
      not of a sample) and the percentiles `p50`, `p99_9`, …
    - set: `value`, the number of different members; `count`

    A sampled metric counts as often as its sample rate says. Percentiles are values that were sent (nearest
    rank), from 512 values of a series on within 1 %. Sets are exact up to 1,024 members, then within 1.6 % (a
    standard error).

    The time of a record is its receipt. A window closes when a record of a later one comes, or by the clock,
    once no frame waits in the buffers of the sources. A record that comes later counts in the next window
    (`late`), so none is lost. With `time` the field decides where a record has it. Then late records are
    rejected (`window:late`), the clock closes windows when no record came for 30 seconds, and an interval
    without any record gives none for gauges either.

    Series beyond `max_series` share one series `_other` for each type (`series_overflow`), and so do those
    with a name and tags of more than 1,024 characters. Records of other types, like events, pass unchanged.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "late": "records too late for a window or out of order (sequence), and late keys (expect)",
        "series_overflow": "records of series beyond max_series or too long, which share the series _other",
        "series_expired": "series that were forgotten because they were not sent for ttl",
    }
    gauges: ClassVar[Mapping[str, str]] = {"series": "series that are known"}

    reads_columns = True

    class Config(Settings):
        """Interval, percentiles and bounds."""

        interval: DurationS = Field("10s", gt=0, description="length of a window")  # type: ignore[assignment]  # parsed by the validator
        percentiles: list[float] = Field(
            [50, 90, 95, 99],
            max_length=_MOST_PERCENTILES,
            description="percentiles of timers, histograms and distributions, more than 0 and at most 100",
        )
        tags: FieldNames | None = Field(
            None, description="names of the tags that tell series apart; others are left out. Default: all"
        )
        time: FieldName | None = Field(
            None,
            description="field with the time of the record, which the codec calls timestamp. Default, and for"
            " a record without it: the time of receipt",
        )
        watermark_delay: DurationS | None = Field(
            None,
            description="how long a window waits for records with an earlier time. Required with `time`;"
            " otherwise 0s",
        )
        max_future: DurationS | None = Field(
            None,
            description="a record whose time is later than its receipt by more is rejected"
            " (window:future). Default: 5m",
        )
        ttl: DurationS = Field("1h", gt=0, description="a series that is not sent for longer is forgotten")  # type: ignore[assignment]  # parsed by the validator
        max_series: int = Field(
            100_000,
            ge=1,
            le=50_000_000,
            description="most series; the records of further ones share the series _other of their type, and"
            " are counted (series_overflow)",
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            for name in ("interval", "watermark_delay", "max_future", "ttl"):
                value = getattr(self, name)
                if value is not None and value > LONGEST_S:
                    raise ValueError(f"{name}: at most 3660d")
            if microseconds(self.interval) == 0:
                raise ValueError("interval: at least 1us")
            if self.ttl < self.interval:
                raise ValueError("ttl: at least interval")
            for rank in self.percentiles:
                if not 0 < rank <= _ALL:
                    raise ValueError(f"percentiles: {rank} is not more than 0 and at most 100")
            if len(set(map(_percentile_name, self.percentiles))) < len(self.percentiles):
                raise ValueError("percentiles: one occurs twice")
            if self.time is not None and self.watermark_delay is None:
                raise ValueError('watermark_delay: required with time; for example "5s"')
            if self.time is None and self.max_future is not None:
                raise ValueError(
                    "max_future: has no effect without time: no record is received in the future"
                )
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        if config.time is not None:
            refuse_unknown([config.time], context.fields, "time")
        self._ranks = [(_percentile_name(rank), rank) for rank in config.percentiles]
        self._kept_tags = None if config.tags is None else frozenset(config.tags)
        self._encode = msgspec.json.Encoder(order="sorted").encode
        self._max_future_us = microseconds(
            DEFAULT_MAX_FUTURE_S if config.max_future is None else config.max_future
        )
        self._begin()

    def _begin(self) -> None:
        config = self.config
        self._losses = Losses(self.context.upstream)
        self._windows = SeriesWindows(
            FixedGrid(microseconds(config.interval), 0),
            self._losses,
            delay_us=microseconds(config.watermark_delay or 0.0),
            ttl_us=microseconds(config.ttl),
            max_series=config.max_series,
            idle_s=None if config.time is None else IDLE_S,
        )
        self._look_at = 0.0
        self._late = 0

    def open(self) -> None:
        self._begin()

    def process(self, records: list[Record], now: Now) -> Processed:
        return self.process_columns(RecordColumns(records), now)

    def process_columns(self, columns: Columns, now: Now) -> Processed:
        done = Processed([])
        windows = self._windows
        self._losses.look(now.wall_s)
        every = zip(*map(columns.column, _FIELDS), self._moments(columns, now), strict=True)
        for place, row in enumerate(every):
            type_, moment_us = row[1], row[-1]
            if type(type_) is str and type_ not in _METRICS:
                done.records.append(columns.record(place))
                continue
            try:
                series, value, weight = self._read(*row)
            except BadData as bad:
                done.rejects.append(BadRecord(columns.record(place), bad.reason, bad.detail))
                continue
            if windows.advance(moment_us, now):
                found = self._results(columns.metadata(place), None)
                done.records += found
                done.emitted += len(found)
            is_long = len(series[1]) + len(series[2]) > _LONGEST_SERIES
            windows.cell(series, moment_us, is_long=is_long).take(value, weight, type_ == GAUGE_DELTA)
            done.absorbed += 1
        self._count()
        return done

    def _read(
        self, name: Any, type_: Any, value: Any, member: Any, rate: Any, tags: Any, moment_us: int
    ) -> tuple[Series, Any, float]:
        """The series of a record, its value or member, and how many it stands for. Raises `BadData`."""
        if type(type_) is not str:
            raise BadData("statsd:type", "the record has no type")
        if type(name) is not str or not name:
            raise BadData("statsd:name", "the record has no name")
        kind = GAUGE if type_ == GAUGE_DELTA else type_
        found = _member(member) if kind == SET else _number(value)
        weight = 1.0 if rate is None else _weight(rate)
        series = kind, name, self._tags(tags) if tags else NO_TAGS
        if moment_us == NEVER:
            raise BadData("window:future", f"no time in {self.config.time}, or one too far in the future")
        if self._windows.is_late(moment_us):
            self._late += 1
            if self.config.time is not None:
                watermark = text_of(self._windows.watermark_us)
                raise BadData("window:late", f"{text_of(moment_us)} is before the watermark {watermark}")
        return series, found, weight

    def _moments(self, columns: Columns, now: Now) -> Sequence[int]:
        """The time of each record; `NEVER` if it has a wrong one."""
        received = columns.column(RECEIVED_AT)
        moments = moments_of_columns(None, received, 0, now.wall_s)
        if self.config.time is None:
            return moments
        times = columns.column(self.config.time)
        if times.count(None) == len(times):
            return moments
        theirs = moments_of_columns(times, received, self._max_future_us, now.wall_s)
        return [own if time is None else its for time, own, its in zip(times, moments, theirs, strict=True)]

    def _tags(self, tags: Any) -> bytes:
        """The tags that tell series apart, as JSON. Raises `BadData`."""
        if not isinstance(tags, dict):
            raise BadData("statsd:tags", f"tags are an object, not {type(tags).__name__}")
        if self._kept_tags is not None:
            tags = {name: value for name, value in tags.items() if name in self._kept_tags}
        try:
            return self._encode(tags)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadData("statsd:tags", str(error)[:80]) from None

    def _results(self, metadata: Record, most: int | None) -> list[Record]:
        return [self._result(one, metadata) for one in self._windows.finished(most)]

    def _result(self, one: Finished, metadata: Record) -> Record:
        kind, name, tags = one.series
        return {
            "name": name,
            "type": kind,
            "tags": msgspec.json.decode(tags),
            "window_start": text_of(one.start_us),
            "window_end": text_of(one.end_us),
            **one.cell.result(self.config.interval, one.before, self._ranks),
            "complete": self._losses.spare(one.start_us, one.end_us, one.losses),
            **metadata,
        }

    def _count(self) -> None:
        windows = self._windows
        for name, count in (
            ("late", self._late),
            ("series_overflow", windows.overflowed),
            ("series_expired", windows.expired),
        ):
            if count:
                self.context.counters.add(name, count)
        self._late = windows.overflowed = windows.expired = 0
        self.context.counters.set_gauge("series", len(windows))

    def next_deadline(self) -> float | None:
        due = self._windows.next_due()
        return None if due is None else max(due, self._look_at)

    def tick(self, now: Now) -> Processed:
        due = self.next_deadline()
        if due is None or due > now.mono_s:
            return Processed([])
        self._losses.look(now.wall_s)
        if self.context.upstream.waiting():
            self._look_at = now.mono_s + LOOK_AGAIN_S
            return Processed([])
        self._windows.tick(now)
        found = self._results({}, MOST_RESULTS)
        self._count()
        return Processed(found)

    def snapshot_parts(self) -> Iterator[bytes]:
        if self._windows.watermark_us != NEVER:
            yield from parts_of(("statsd_aggregate", self._windows.dump()))

    def restore(self, state: bytes, now: Now) -> None:
        _, windows = msgspec.msgpack.decode(state, type=_State)
        self._windows.load(windows, now)

    def unrepeatable(self) -> str:
        return "its windows are closed by the clock"

    def fields_after(self) -> frozenset[str] | None:
        if self.context.fields is None:
            return None
        return self.context.fields | {*_RESULT, *(name for name, _ in self._ranks)}


_State = tuple[Literal["statsd_aggregate"], list[Any]]


def _percentile_name(rank: float) -> str:
    return f"p{rank:g}".replace(".", "_")


def _weight(rate: Any) -> float:
    """How many values one stands for. Raises `BadData`."""
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not _LEAST_RATE <= rate < math.inf:
        raise BadData("statsd:rate", f"no sample rate: {rate!r:.64}")
    return 1 / rate


def _number(value: Any) -> float:
    kind = type(value)
    if kind is float and math.isfinite(value):
        return value  # type: ignore[no-any-return]  # a float
    if kind is not int:
        raise BadData("statsd:value", f"no number: {value!r:.64}")
    try:
        return float(value)
    except OverflowError:
        raise BadData("statsd:value", "beyond a 64-bit number") from None


def _member(member: Any) -> Any:
    if type(member) is not str:
        raise BadData("statsd:value", "the record of a set has no member")
    return member
