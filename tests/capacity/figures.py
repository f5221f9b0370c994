"""Figures of a small daemon, whose courses can be computed by hand."""

from streamd.capacity.figures import (
    BufferFigures,
    Figures,
    LineFigures,
    SinkFigures,
    SourceFigures,
    StepFigures,
)
from streamd.core.settings import WhenFull


def buffer(most: int = 1000, when_full: WhenFull = "drop_oldest", item_bytes: float = 100.0) -> BufferFigures:
    return BufferFigures(max_records=most, max_bytes=1 << 30, item_bytes=item_bytes, when_full=when_full)


def source(
    name: str = "udp",
    rate: float = 100.0,
    most: int = 1000,
    when_full: WhenFull = "drop_oldest",
    kernel_bytes: int | None = None,
    dispersion: float | None = None,
) -> SourceFigures:
    return SourceFigures(
        name=name,
        buffer=buffer(most, when_full),
        load=((1.0, rate),),
        receive_buffer_bytes=kernel_bytes,
        dispersion=dispersion,
    )


def sink(
    name: str = "records", per_s: float = 1000.0, most: int = 1000, when_full: WhenFull = "block",
    *, at_least: bool = False,
) -> SinkFigures:  # fmt: skip
    return SinkFigures(
        name=name, buffer=buffer(most, when_full), capacity_per_s=per_s, max_wait_s=0.0, at_least=at_least
    )


def line(
    sources: tuple[SourceFigures, ...] = (),
    sinks: tuple[SinkFigures, ...] = (),
    process_s: float = 0.001,
    steps: tuple[StepFigures, ...] = (),
    name: str = "main",
    *,
    at_least: bool = False,
) -> LineFigures:
    sinks = sinks or (sink(),)
    return LineFigures(
        name=name,
        sources=sources or (source(),),
        sinks=sinks,
        per_frame={one.name: 1.0 for one in sinks},
        process_s=process_s,
        steps=steps,
        at_least=at_least,
    )


def figures(*lines: LineFigures, read_s: float = 0.0) -> Figures:
    return Figures(lines=lines or (line(),), read_s=read_s)
