"""The tables of a test: `[[tests]]` in the configuration or in a file beside it, for `streamd test`."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from streamd.core.errors import BadData
from streamd.core.settings import DurationS, Settings
from streamd.core.timestamp import canonical

START = "2026-01-01T00:00:00Z"
"""When the virtual clock begins, unless a test says otherwise."""

CONTENTS = ("text", "hex", "base64", "file", "records")
"""The keys of an input that hold what a source receives."""
_ACTIONS = ("advance", "restart", "reload", "until")


def _moment(value: Any) -> str:
    try:
        return canonical(value if isinstance(value, str) else None, timezone="UTC")
    except BadData as bad:
        raise ValueError(f"a time is written like 2026-01-01T00:00:05Z: {bad.detail}") from None


Moment = Annotated[str, BeforeValidator(_moment, json_schema_input_type=str)]
"""A time as canonical text. A time without an offset is in UTC."""


class Input(Settings):
    """One thing that happens in a test: a source receives something, time passes, or the daemon restarts."""

    at: Moment | None = Field(
        None, description="when it happens, in virtual time; timers that are due before it act first"
    )
    source: str | None = Field(None, description="the source that receives the content")
    peer: str | None = Field(
        None,
        min_length=1,
        description="the sender, like 192.0.2.7:5000; inputs of one peer to a source of streams are one"
        " connection. Default: one sender for each source",
    )
    text: str | None = Field(
        None,
        description="content as UTF-8; if the framing ends frames by a delimiter, a missing last one is"
        " added. A datagram is one frame for each input",
    )
    hex: str | None = Field(
        None, description="content as hexadecimal bytes, with or without blanks; nothing is added"
    )
    base64: str | None = Field(None, description="content as base64; nothing is added")
    file: str | None = Field(
        None, min_length=1, description="a file with the content, relative to the file of the test"
    )
    records: list[dict[str, Any]] | None = Field(
        None,
        min_length=1,
        description="records that enter the pipelines behind the codec; a schema of the source checks them",
    )
    close: bool = Field(
        False, description="the connection of source and peer ends, after the content if there is any"
    )
    advance: DurationS | None = Field(
        None, gt=0, description="time that passes; every timer that becomes due acts at its own time"
    )
    restart: Literal[True, "kill"] | None = Field(
        None,
        description='true: a clean stop and a start, steps get their state back; "kill": the steps get'
        " the state that was stored last, and `file` sources are read again from there",
    )
    reload: str | None = Field(
        None, min_length=1, description="a configuration that a reload applies, relative to the file"
    )
    until: Literal["drain"] | None = Field(
        None,
        description='"drain": time passes from timer to timer until no step and no codec has one',
    )

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [key for key in CONTENTS if getattr(self, key) is not None]
        acts = [key for key in _ACTIONS if getattr(self, key) is not None]
        if len(given) + len(acts) > 1:
            raise ValueError(f"has {' and '.join([*given, *acts])}: an input holds one of them")
        if acts:
            extra = [key for key in ("source", "peer") if getattr(self, key) is not None]
            if extra or self.close:
                raise ValueError(f"{acts[0]} concerns no source: remove {' and '.join([*extra]) or 'close'}")
        elif given or self.close:
            if self.source is None:
                raise ValueError("names no source: write source = …")
        elif self.source is not None or self.at is None:
            raise ValueError(f"does nothing: write {', '.join(CONTENTS)}, {' or '.join(_ACTIONS)}")
        return self


class ExpectedSink(Settings):
    """What a sink holds at the end of a test: `rows`, `lines` or a `count`."""

    rows: list[dict[str, Any]] | None = Field(
        None,
        description="all records in order: the rows of a table, or the objects of lines of JSON. A field"
        " that is not named is NULL or missing. Columns of metadata are compared if they are named",
    )
    lines: list[str] | None = Field(None, description="all lines in order, as text")
    count: int | None = Field(None, ge=0, description="the number of records")
    contains: bool = Field(
        False, description="other records may be between the expected ones, whose order still counts"
    )
    ignore: list[str] = Field([], description="fields that are not compared, such as a random id")

    @model_validator(mode="after")
    def _asserts_something(self) -> Self:
        if self.rows is not None and self.lines is not None:
            raise ValueError("has rows and lines: expect one of them")
        listed = self.lines if self.rows is None else self.rows
        if listed is None and self.count is None:
            raise ValueError("expects nothing: write rows, lines or count")
        if self.contains and not listed:
            raise ValueError("contains without rows or lines is always true: name some, or write count")
        if self.ignore and self.rows is None:
            raise ValueError("ignore names fields of rows, and there are no rows")
        return self


class ExpectedReject(Settings):
    """One dead letter. Keys that are not given are not compared."""

    reason: str = Field(description="the reason, like json:syntax")
    stage: str | None = Field(None, description="where: decode, a step like filter[0], where, or sink")
    source: str | None = Field(None, description="the source of the frame or record")
    pipeline: str | None = Field(None, description="the pipeline")
    sink: str | None = Field(None, description="the sink")
    detail: str | None = Field(None, min_length=1, description="a part of the detail")
    payload: str | dict[str, Any] | None = Field(
        None, description="the frame as text, or the fields of the record"
    )


class Expectation(Settings):
    """The whole outcome of a test. A fate that is not named does not happen, or the test fails."""

    sinks: dict[str, ExpectedSink] = Field(
        {}, description="what each sink holds; a sink that is not named stays empty"
    )
    rejected: list[ExpectedReject] = Field([], description="all dead letters in order")
    filtered: int | dict[str, int] | None = Field(
        None, description="number of records that steps filter out, in all or by pipeline. Default: 0"
    )
    dropped: int | dict[str, int] | None = Field(
        None, description="number of frames and records that are lost, in all or by reason. Default: 0"
    )
    counters: dict[str, int] = Field(
        {},
        description='counters by the path of their component, like "sources.floor.truncated" or'
        ' "pipelines.main.steps[1].late"; others are not compared',
    )


class Case(Settings):
    """One test: its inputs in order, and the outcome."""

    name: str = Field(min_length=1, description="the name, once in a configuration")
    start: Moment = Field(START, description="when the virtual clock begins")
    inputs: list[Input] = Field(min_length=1, description="what happens, in this order")
    expect: Expectation | None = Field(
        None, description="the outcome; required, and `streamd test --update` writes it"
    )
