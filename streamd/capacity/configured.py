"""The topology and bounds of a configuration as figures, for costs that were not measured on its daemon."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from streamd.capacity.figures import (
    FRAME_BYTES,
    RECORD_WEIGHT,
    BufferFigures,
    LineFigures,
    SinkFigures,
    SourceFigures,
)
from streamd.config.tables import Config, groups
from streamd.core.settings import BufferSettings, WhenFull
from streamd.runtime.batcher import most_of_commit

Load = list[tuple[float, float]]
"""(seconds, frames a second), one after another."""


class Costs(NamedTuple):
    """The speed of the pipelines of a group."""

    process_s: float
    """Seconds of the loop for each frame."""
    sink_per_s: float
    """Records a second that each sink writes."""
    at_least: bool = False
    records_per_frame: float = 1.0


def lines_of(
    config: Config,
    loads: Mapping[str, Load],
    costs: Callable[[list[str], list[str]], Costs | None],
    frame_bytes: float | None,
) -> tuple[LineFigures, ...]:
    """The lines of a configuration. `costs` gives those of pipelines and sources; None leaves it out."""
    found: list[LineFigures] = []
    item_bytes = frame_bytes or FRAME_BYTES
    for names in groups(config):
        pipelines = [config.pipelines[name] for name in names]
        sources = list(dict.fromkeys(source for pipeline in pipelines for source in pipeline.sources))
        sinks = list(dict.fromkeys(sink for pipeline in pipelines for sink in pipeline.sinks))
        cost = costs(names, sources)
        if cost is None:
            continue
        found.append(
            LineFigures(
                name=", ".join(names),
                sources=tuple(
                    _source(config, name, loads.get(name, [(1.0, 0.0)]), item_bytes) for name in sources
                ),
                sinks=tuple(_sink(config, name, item_bytes, cost) for name in sinks),
                per_frame={
                    sink: cost.records_per_frame * sum(sink in pipeline.sinks for pipeline in pipelines)
                    for sink in sinks
                },
                process_s=cost.process_s,
                records_per_frame=cost.records_per_frame,
                at_least=cost.at_least,
            )
        )
    return tuple(found)


def _source(config: Config, name: str, load: Load, item_bytes: float) -> SourceFigures:
    settings = config.sources[name]
    return SourceFigures(
        name=name,
        buffer=_bounds(settings.buffer, settings.when_full, item_bytes),
        load=load,
        receive_buffer_bytes=next(
            (one.receive_buffer_bytes for one in settings.endpoints if one.kind == "udp"), None
        ),
    )


def _sink(config: Config, name: str, item_bytes: float, cost: Costs) -> SinkFigures:
    settings = config.sinks[name]
    return SinkFigures(
        name=name,
        buffer=_bounds(settings.buffer, settings.buffer.when_full or "block", item_bytes * RECORD_WEIGHT),
        capacity_per_s=cost.sink_per_s,
        max_wait_s=settings.batch.max_wait,
        enough=settings.batch.max_records,
        at_least=cost.at_least,
        most_written=most_of_commit(settings.batch.max_records, settings.buffer.max_records),
        attempt_s=settings.attempt_s,
    )


def _bounds(buffer: BufferSettings, when_full: WhenFull, item_bytes: float) -> BufferFigures:
    return BufferFigures(
        max_records=buffer.max_records,
        max_bytes=buffer.max_bytes,
        item_bytes=item_bytes,
        when_full=when_full,
    )
