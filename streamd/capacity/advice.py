"""Settings that hold a scenario, with their memory: buffers, batches of steps, processes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from streamd.capacity.figures import BufferFigures, Figures
from streamd.capacity.flows import Flows
from streamd.capacity.resizing import divided, with_sink, with_sources, with_steps
from streamd.capacity.scenario import Scenario
from streamd.capacity.simulation import KERNEL_FRAME_BYTES, Course, simulate
from streamd.config.problems import dotted
from streamd.core.listed import listed

SPARE = 1.1
"""Suggested buffers are larger than the longest queue by this factor."""
MOST_UTILIZATION = 0.8
"""Suggested batches and processes are busy for this share at most."""
LOOP_STALL_S = 0.5
"""The kernel's buffer should hold what arrives in this time, or in the longest delay that was seen."""
_Z_90 = 1.645
_MIB = 2**20
_ROOMY = 1e9
"""Records of a buffer that never fills."""
_DIGITS = 2
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One change. `toml` is empty if no key of the configuration makes it."""

    what: str
    toml: str
    memory_bytes: int
    """Most memory that it takes in all; for several processes 0, because each has its own."""
    holds: bool
    """Whether the scenario loses nothing with this change alone, as computed again."""


def suggestions(figures: Figures, scenario: Scenario, course: Course) -> list[Suggestion]:
    """What would hold the scenario. The first one suffices if it `holds`."""
    found: list[Suggestion] = []
    if not _is_held(course):
        found += _of_speed(figures, scenario)
        found += _of_buffers(figures, scenario, course)
    return [*found, *_of_kernel(figures, scenario)]


def _of_buffers(figures: Figures, scenario: Scenario, course: Course) -> list[Suggestion]:
    """A larger buffer of each sink that is full, larger buffers of the sources, or both if neither holds."""
    full = sorted({path.sink for path in course.paths if path.sink_buffer.share >= 1})
    grown = [*(_sink_grown(figures, scenario, name) for name in full), _sources_grown(figures, scenario)]
    found = [_suggestion(figures, larger, scenario) for larger in grown if larger != figures]
    if len(found) > 1 and not any(one.holds for one in found):
        both = figures
        for name in full:
            both = _sink_grown(both, scenario, name)
        both = _sources_grown(both, scenario)
        found.append(_suggestion(figures, both, scenario))
    return sorted(found, key=lambda one: (not one.holds, one.memory_bytes))


def _suggestion(before: Figures, after: Figures, scenario: Scenario) -> Suggestion:
    """The buffers of `after` that differ, as a suggestion."""
    sources = [
        (one, old) for one, old in zip(after.sources, before.sources, strict=True) if one.buffer != old.buffer
    ]
    sinks = [(one, before.sinks[name]) for name, one in after.sinks.items() if one != before.sinks[name]]
    tables = [_table("sources", one.name, one.buffer, old.buffer) for one, old in sources]
    tables += [_table("sinks", one.name, one.buffer, old.buffer) for one, old in sinks]
    memory = sum(_memory_bytes(one.buffer) for one, _ in sources)
    memory += sum(_memory_bytes(one.buffer) for one, _ in sinks)
    names = [f"source {one.name}" for one, _ in sources] + [f"sink {one.name}" for one, _ in sinks]
    what = f"{'a larger buffer' if len(names) == 1 else 'larger buffers'} of {listed(names)}"
    return Suggestion(what, "\n".join(tables), memory, _is_held(simulate(after, scenario)))


def _sources_grown(figures: Figures, scenario: Scenario) -> Figures:
    """With room for what waits in each source's buffer if none is bounded."""
    flows = Flows(figures, scenario)
    roomy = with_sources(figures, {one.name: _ROOMY for one in figures.sources})
    needed: dict[str, float] = {}
    for path in simulate(roomy, scenario).worst():
        source = next(one for one in figures.sources if one.name == path.source)
        rate = flows.mean_per_s(source.name)
        wanted = _with_spare(path.buffer.peak, path.buffer.peak_s, source.dispersion, rate)
        if wanted > source.buffer.most:
            needed[source.name] = rounded_up(wanted)
    return with_sources(figures, needed)


def _sink_grown(figures: Figures, scenario: Scenario, name: str) -> Figures:
    """With room for what waits in the sink's buffer if that is not bounded, and until a batch is full."""
    sink = figures.sinks[name]
    course = simulate(with_sink(figures, name, _ROOMY), scenario)
    track = next(one for one in course.tracks if (one.kind, one.name) == ("sink", name))
    rate = Flows(figures, scenario).into_sink_per_s(name)
    wanted = _with_spare(track.peak, track.peak_s, _dispersion(figures), rate)
    return with_sink(figures, name, rounded_up(wanted + min(sink.enough, rate * sink.max_wait_s)))


def _of_speed(figures: Figures, scenario: Scenario) -> Iterator[Suggestion]:
    """More batches at a time or more processes, where the load itself is more than the capacity."""
    flows = Flows(figures, scenario)
    for line in figures.lines:
        load = sum(flows.mean_per_s(one.name) for one in line.sources)
        for step in line.steps:
            if load > step.frames_per_s:
                slots = math.ceil(load * step.record_s * step.per_frame / MOST_UTILIZATION)
                more = replace(step, slots=slots)
                steps = tuple(more if one is step else one for one in line.steps)
                then = simulate(with_steps(figures, line.name, steps), scenario)
                yield Suggestion(
                    f"{slots} batches at a time in step {step.name} (now {step.slots}); while it waits, the"
                    " loop is free",
                    f"# {step.key} = {slots}",
                    0,
                    _is_held(then),
                )
    busy = flows.busy()
    if busy > 1:
        processes = math.ceil(busy / MOST_UTILIZATION)
        yield Suggestion(
            f"{processes} processes of streamd that share the senders, each with a configuration and files of"
            f" its own: the load needs {busy:.2f} cores, and the loop of a process is one",
            "",
            0,
            _is_held(simulate(divided(figures, processes), scenario.divided(processes))),
        )
    for name, sink in figures.sinks.items():
        load = flows.into_sink_per_s(name)
        if load > sink.capacity_per_s:
            yield Suggestion(
                f"a faster disk or fewer columns for sink {name}, or its records divided among several sinks"
                f" with `where`: {load:,.0f} records/s come, {sink.capacity_per_s:,.0f} can be written",
                "",
                0,
                holds=False,
            )


def _of_kernel(figures: Figures, scenario: Scenario) -> Iterator[Suggestion]:
    """A larger buffer of the kernel for UDP sources, which covers the loop's pauses."""
    flows = Flows(figures, scenario)
    pause_s = max(LOOP_STALL_S, figures.loop_lag_s or 0.0)
    for source in figures.sources:
        if source.receive_buffer_bytes is None:
            continue
        wanted_bytes = flows.highest_per_s(source.name, scenario.for_s) * pause_s * KERNEL_FRAME_BYTES
        if wanted_bytes > source.receive_buffer_bytes:
            mebibytes = math.ceil(wanted_bytes / _MIB)
            yield Suggestion(
                f"a kernel buffer for source {source.name} that covers a pause of the loop of {pause_s:.1f} s"
                f" (sysctl -w net.core.rmem_max={mebibytes * _MIB} if the kernel grants less)",
                f'[sources.{dotted((source.name,))}]\nreceive_buffer = "{mebibytes}MiB"\n',
                mebibytes * _MIB,
                holds=True,
            )


def rounded_up(number: float) -> int:
    """The next number with two significant digits."""
    whole = max(1, math.ceil(number * (1 - _ROUNDING)))
    unit = 10 ** max(0, len(str(whole)) - _DIGITS)
    return int(-(-whole // unit) * unit)


def _with_spare(peak: float, peak_s: float, dispersion: float | None, rate_per_s: float) -> float:
    """Room for the longest queue, for chance in the arrivals until then (90 %), and a reserve."""
    chance = _Z_90 * math.sqrt(max(0.0, (1.0 if dispersion is None else dispersion) * rate_per_s * peak_s))
    return max(peak * SPARE, peak + chance)


def _dispersion(figures: Figures) -> float | None:
    """The largest of those that were measured."""
    return max((one.dispersion for one in figures.sources if one.dispersion is not None), default=None)


def _is_held(course: Course) -> bool:
    """Whether nothing is lost and no sender waits."""
    return not course.losses and all(path.waits_from_s is None for path in course.paths)


def _table(kind: str, name: str, buffer: BufferFigures, before: BufferFigures) -> str:
    """The keys of the buffer that differ from before."""
    size = f'max_bytes = "{buffer.max_bytes // _MIB}MiB"\n' * (buffer.max_bytes != before.max_bytes)
    return f"[{kind}.{dotted((name,))}.buffer]\nmax_records = {buffer.max_records}\n{size}"


def _memory_bytes(buffer: BufferFigures) -> int:
    """The memory of the full buffer."""
    return min(buffer.max_bytes, int(buffer.max_records * buffer.item_bytes))
