"""The same figures with other settings."""

import math
from collections.abc import Mapping
from dataclasses import replace

from streamd.capacity.figures import READ_S, BufferFigures, Figures, LineFigures, SourceFigures, StepFigures

BYTES_SPARE = 1.25
"""Room in bytes beyond that of the records, because their sizes differ."""
_MIB = 2**20


def with_sources(figures: Figures, records: Mapping[str, float]) -> Figures:
    """With room for so many frames in the buffers of these sources."""

    def changed(line: LineFigures) -> LineFigures:
        return replace(
            line,
            sources=tuple(
                replace(one, buffer=_resized(one.buffer, records[one.name])) if one.name in records else one
                for one in line.sources
            ),
        )

    return replace(figures, lines=tuple(map(changed, figures.lines)))


def with_sink(figures: Figures, name: str, records: float) -> Figures:
    """With room for so many records in the buffer of this sink."""

    def changed(line: LineFigures) -> LineFigures:
        return replace(
            line,
            sinks=tuple(
                replace(one, buffer=_resized(one.buffer, records)) if one.name == name else one
                for one in line.sinks
            ),
        )

    return replace(figures, lines=tuple(map(changed, figures.lines)))


def with_steps(figures: Figures, name: str, steps: tuple[StepFigures, ...]) -> Figures:
    """With these waiting steps in the line of this name."""
    lines = tuple(replace(line, steps=steps) if line.name == name else line for line in figures.lines)
    return replace(figures, lines=lines)


def at_worst(figures: Figures) -> Figures:
    """Without what workers and commits may hold, as it is not known how much they take before all wait.

    Reading that was not measured costs `READ_S`.
    """
    lines = tuple(
        replace(line, in_hand=0.0, sinks=tuple(replace(one, most_written=0) for one in line.sinks))
        for line in figures.lines
    )
    return replace(figures, lines=lines, read_s=figures.read_s if figures.is_reading_known else READ_S)


def divided(figures: Figures, processes: int) -> Figures:
    """The figures of one of several processes that share the senders evenly."""

    def changed(source: SourceFigures) -> SourceFigures:
        return replace(source, load=[(seconds, rate / processes) for seconds, rate in source.load])

    lines = (replace(line, sources=tuple(map(changed, line.sources))) for line in figures.lines)
    return replace(figures, lines=tuple(lines))


def _resized(buffer: BufferFigures, records: float) -> BufferFigures:
    """The buffer with so much room, never less than before; bytes only grow if they must."""
    needed_bytes = records * buffer.item_bytes * BYTES_SPARE
    grows = needed_bytes > buffer.max_bytes
    return replace(
        buffer,
        max_records=max(buffer.max_records, int(records)),
        max_bytes=math.ceil(needed_bytes / _MIB) * _MIB if grows else buffer.max_bytes,
    )
