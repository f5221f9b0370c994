"""The options of windows, and what they describe."""

from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from streamd.core.field_names import FieldName, NewFieldName
from streamd.core.record_key import KeyTexts
from streamd.core.settings import DurationS, Settings
from streamd.windows.aggregates import Aggregates
from streamd.windows.grid import DAY_US, DayGrid, FixedGrid, Grid
from streamd.windows.keyed import Kind
from streamd.windows.moments import US
from streamd.windows.panes import Panes
from streamd.windows.sessions import Sessions
from streamd.windows.tumbling import Tumbling

LONGEST_S = 3660 * 86_400.0
"""Longest duration of an option: ten years."""
MOST_PANES = 10_000
"""Most panes of a sliding window."""
DEFAULT_MAX_FUTURE_S = 300.0


class WindowSettings(Settings):
    """The options of windows."""

    kind: Literal["tumbling", "sliding", "session"] = Field(
        "tumbling",
        description="tumbling: windows of the length `size`, one after the other; sliding: a window of"
        " the length `size` begins every `slide`; session: a window ends when the key is silent for"
        " `gap`",
    )
    size: DurationS | None = Field(None, gt=0, description="tumbling and sliding: length of a window")
    slide: DurationS | None = Field(
        None, gt=0, description="sliding: time between the starts of two windows; divides `size`"
    )
    gap: DurationS | None = Field(
        None, gt=0, description="session: two records with less than this between them share a session"
    )
    max_size: DurationS | None = Field(
        None, gt=0, description="session: longest session; a longer one is divided. Default: no limit"
    )
    key: KeyTexts = Field(
        [],
        description="expressions, mostly names of fields: each combination of their values has its own"
        " windows. Default: one window for all records",
    )
    time: FieldName | None = Field(
        None,
        description="field with the time of the record: RFC 3339, ISO 8601 or seconds since 1970."
        " Default: the time of receipt",
    )
    watermark_delay: DurationS | None = Field(
        None,
        description="how long a window waits for records with an earlier time. Required with `time`;"
        " otherwise 0s",
    )
    watermark_by: Literal["key", "sender", "pipeline"] = Field(
        "key",
        description="records that share a watermark: those of a key, of a sender (its host), or all"
        " (then the slowest active sender decides)",
    )
    idle_timeout: DurationS | None = Field(
        None,
        gt=0,
        description="a key or sender without records for this time is idle, unless frames wait in the"
        " buffers of the sources: its open windows close, and no other waits for it. What it sends for them"
        " later is late. Default: when they would close if its clock had gone on, and at least 30s",
    )
    max_future: DurationS | None = Field(
        None,
        description="a record whose time is later than its receipt by more is rejected"
        " (window:future). Default: 5m",
    )
    allowed_lateness: DurationS = Field(
        "0s", description="how long a closed window can still change, if `late` is update"
    )  # type: ignore[assignment]  # parsed by the validator
    late: Literal["reject", "drop", "update"] = Field(
        "reject",
        description="a record whose windows are all closed: reject it (window:late), drop it, or for"
        " `allowed_lateness` add it and emit the whole result of the window again (the sink needs"
        " `unique`)",
    )
    early: DurationS | None = Field(
        None,
        gt=0,
        description="emit changed open windows that often, with final = false (the sink needs `unique`)",
    )
    timezone: str = Field("UTC", description="time zone in which windows of whole days begin at midnight")
    offset: DurationS = Field(
        "0s", description="windows begin that much after 1970-01-01T00:00:00Z, or after midnight"
    )  # type: ignore[assignment]  # parsed by the validator
    max_keys: int = Field(
        100_000,
        ge=1,
        le=50_000_000,
        description="most keys; the records of further keys share the key *, and are counted (overflow)",
    )
    aggregate: dict[NewFieldName, str] = Field(
        min_length=1,
        description='name = "function(field)" with count, sum, mean, min, max, stddev, first, last,'
        " delta, rate, quantile(field, q), distinct or top_k(field, k)",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("size", "slide", "gap", "max_size", "watermark_delay", "max_future", "idle_timeout",
                     "allowed_lateness", "early", "offset"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value > LONGEST_S:
                raise ValueError(f"{name}: at most 3660d")
            if value is not None and value > 0 and microseconds(value) == 0:
                raise ValueError(f"{name}: at least 1us")
        _check_kind(self)
        _check_time(self)
        return self


def microseconds(duration_s: float) -> int:
    """A duration in integer microseconds."""
    return round(duration_s * US)


def new_kind(config: WindowSettings, aggregates: Aggregates) -> Kind:
    """The windows that the options describe."""
    if config.gap is not None:
        return Sessions(
            microseconds(config.gap),
            None if config.max_size is None else microseconds(config.max_size),
            aggregates,
        )
    size_us = microseconds(config.size or 0.0)
    step_us = size_us if config.slide is None else microseconds(config.slide)
    grid: Grid = FixedGrid(step_us, microseconds(config.offset))
    if config.timezone != "UTC":
        grid = DayGrid(step_us // DAY_US, microseconds(config.offset), ZoneInfo(config.timezone))
    delay_us = microseconds(config.watermark_delay or 0.0)
    lateness_us = microseconds(config.allowed_lateness)
    kind = Tumbling if step_us == size_us and not lateness_us else Panes
    return kind(grid, size_us // step_us, step_us, delay_us, lateness_us, aggregates)


_NEEDS = {"tumbling": {"size"}, "sliding": {"size", "slide"}, "session": {"gap"}}
_TAKES = {"timezone", "offset", "early"}


def _check_kind(config: WindowSettings) -> None:
    """Raises ValueError for an option that the kind does not have, or that it misses."""
    needs = _NEEDS[config.kind]
    takes = needs | ({"max_size"} if config.kind == "session" else _TAKES)
    for name in ("size", "slide", "gap", "max_size", *sorted(_TAKES)):
        value = getattr(config, name)
        if name in needs and value is None:
            raise ValueError(f"{name}: {config.kind} windows need it")
        if name in config.model_fields_set and name not in takes and value is not None:
            reason = ": the sessions of early results could merge later" if name == "early" else ""
            raise ValueError(f"{name}: {config.kind} windows have none{reason}")
    if config.gap is not None and config.max_size is not None and config.max_size <= config.gap:
        raise ValueError("max_size: must be more than gap")
    if config.size is not None:
        _check_panes(config, microseconds(config.size))


def _check_panes(config: WindowSettings, size_us: int) -> None:
    step_us = size_us if config.slide is None else microseconds(config.slide)
    if size_us % step_us:
        raise ValueError("slide: must divide size")
    if config.slide is not None and step_us == size_us:
        raise ValueError('slide: equals size, which is kind = "tumbling"')
    if size_us // step_us > MOST_PANES:
        raise ValueError(f"slide: size may be at most {MOST_PANES} times slide")
    if microseconds(config.offset) >= step_us:
        raise ValueError(f"offset: must be less than {'slide' if config.slide else 'size'}")
    _check_zone(config.timezone, step_us)


def _check_zone(timezone: str, step_us: int) -> None:
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"timezone: there is no timezone {timezone!r} on this host") from error
    if timezone != "UTC" and step_us % DAY_US:
        raise ValueError("timezone: is for windows of whole days; other windows are the same in every zone")


def _check_time(config: WindowSettings) -> None:
    """Raises ValueError for options of the time that do not fit together."""
    if config.time is None and config.max_future is not None:
        raise ValueError("max_future: has no effect without time, as no record is received in the future")
    if config.time is not None and config.watermark_delay is None:
        raise ValueError('watermark_delay: required with time; for example "5s"')
    if config.late == "update" and config.kind == "session":
        raise ValueError("late: a late record could merge sessions that were emitted; use reject or drop")
    if config.late == "update" and not config.allowed_lateness:
        raise ValueError('allowed_lateness: required with late = "update"')
    if config.late != "update" and config.allowed_lateness:
        raise ValueError('allowed_lateness: has no effect without late = "update"; to wait before a window'
                         " closes, use watermark_delay")  # fmt: skip
