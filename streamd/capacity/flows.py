"""The rates of a scenario at each moment: arrivals, and each source's share of the core, steps and sinks."""

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streamd.capacity.figures import Figures, LineFigures, SourceFigures
from streamd.capacity.scenario import Scenario
from streamd.dynamics.shared_core import shared_core_capacity


class Piece(NamedTuple):
    """The rates of one path while nothing changes."""

    inflow_per_s: float
    """Frames a second."""
    workers_per_s: float
    """Frames a second that leave the source's buffer if frames always wait."""
    sink_per_s: float
    """Records a second that leave the sink's buffer if records always wait."""


class Flows:
    """The arrivals and capacities of all sources, steps and sinks over time."""

    def __init__(self, figures: Figures, scenario: Scenario) -> None:
        self._figures = figures
        self._scenario = scenario
        self._loads = {source.name: _Load(source, figures, scenario) for source in figures.sources}
        self._cost_s = {
            source.name: max(0.0, line.process_s + scenario.step_cost_s * line.records_per_frame)
            for line in figures.lines
            for source in line.sources
        }
        self._stalls = [(one.sink, one.at_s, one.at_s + one.for_s) for one in scenario.stalls]

    def changes(self, until_s: float) -> set[float]:
        """The times before `until_s` at which a rate changes."""
        found = {edge for _, begin, end in self._stalls for edge in (begin, end)}
        for load in self._loads.values():
            found.update(load.edges)
        return {edge for edge in found if 0 < edge < until_s}

    def arrivals(self, source: str, until_s: float) -> Iterator[tuple[float, float]]:
        """(seconds, frames a second) of one source up to `until_s`."""
        edges = sorted({0.0, until_s, *(edge for edge in self._loads[source].edges if 0 < edge < until_s)})
        for begin, end in itertools.pairwise(edges):
            yield end - begin, self._loads[source].at(begin)

    def has_bursts(self, source: str) -> bool:
        """Whether the scenario has a burst of this source."""
        return self._loads[source].has_bursts

    def mean_per_s(self, source: str) -> float:
        """The mean arrivals of a source, without bursts."""
        return self._loads[source].mean_per_s

    def highest_per_s(self, source: str, until_s: float) -> float:
        """The fastest arrivals of a source up to `until_s`, with bursts."""
        load = self._loads[source]
        return max(load.at(edge) for edge in (0.0, *load.edges) if edge < until_s)

    def busy(self) -> float:
        """Cores that the mean load of all sources needs on the loop."""
        read_s = self._figures.read_s
        return sum(load.mean_per_s * (read_s + self._cost_s[name]) for name, load in self._loads.items())

    def overloaded(self) -> list[str]:
        """The sources whose mean load is more than their share of the capacity, so no buffer holds it."""
        return [
            source.name
            for line in self._figures.lines
            for source in line.sources
            for sink in line.sinks
            if line.per_frame.get(sink.name, 0.0) > 0 and self._is_overloaded(line, source.name, sink.name)
        ]

    def _is_overloaded(self, line: LineFigures, source: str, sink: str) -> bool:
        inflows = {name: load.mean_per_s for name, load in self._loads.items()}
        workers_per_s, sink_per_s = self._capacities(line, source, sink, inflows)
        return inflows[source] > min(workers_per_s, sink_per_s / line.per_frame[sink])

    def into_sink_per_s(self, sink: str) -> float:
        """The mean records a second that come to a sink."""
        return sum(self._into(sink, {name: load.mean_per_s for name, load in self._loads.items()}).values())

    def at(self, at_s: float, line: LineFigures, source: str, sink: str) -> Piece:
        """The rates from `at_s` until the next change. Others get what they need, up to a fair share."""
        inflows = {name: load.at(at_s) for name, load in self._loads.items()}
        workers_per_s, sink_per_s = self._capacities(line, source, sink, inflows)
        stalled = any(name == sink and begin <= at_s < end for name, begin, end in self._stalls)
        return Piece(inflows[source], workers_per_s, 0.0 if stalled else sink_per_s)

    def _capacities(
        self, line: LineFigures, source: str, sink: str, inflows: dict[str, float]
    ) -> tuple[float, float]:
        """Frames a second of the workers, and records a second of the sink, for one source."""
        cost_s = self._cost_s
        core = shared_core_capacity(sum(inflows.values()), self._figures.read_s, 1.0)
        others = [inflows[name] * cost_s[name] for name in inflows if name != source]
        share_s = fair_share(core, others)
        workers = share_s / cost_s[source] if cost_s[source] > 0 else float("inf")
        of_line = [inflows[one.name] for one in line.sources if one.name != source]
        for step in line.steps:
            workers = min(workers, fair_share(step.frames_per_s, of_line))
        into_sink = [n for name, n in self._into(sink, inflows).items() if name != source]
        capacity = self._figures.sinks[sink].capacity_per_s
        return workers, fair_share(capacity, into_sink)

    def share_of_sink(self, source: str, sink: str) -> float:
        """The part of what comes to the sink that comes from the source; equal parts if nothing comes."""
        rates = {name: load.mean_per_s for name, load in self._loads.items()}
        into = self._into(sink, rates)
        total = sum(into.values())
        return into[source] / total if total > 0 and into[source] > 0 else 1 / len(into)

    def share_of_line(self, source: str) -> float:
        """The part of what comes to the workers of its line that comes from the source."""
        line = next(line for line in self._figures.lines if source in [one.name for one in line.sources])
        rates = {one.name: self._loads[one.name].mean_per_s for one in line.sources}
        total = sum(rates.values())
        return rates[source] / total if total > 0 else 1 / len(rates)

    def _into(self, sink: str, inflows: dict[str, float]) -> dict[str, float]:
        """Records a second from each source that feeds the sink."""
        return {
            one.name: inflows[one.name] * line.per_frame[sink]
            for line in self._figures.lines
            if line.per_frame.get(sink, 0.0) > 0
            for one in line.sources
        }


class _Load:
    """The arrivals of one source: its own load, changed by the scenario, and bursts."""

    def __init__(self, source: SourceFigures, figures: Figures, scenario: Scenario) -> None:
        self._rates = [rate for _, rate in source.load]
        self._ends: list[float] = []
        for seconds, _ in source.load[:-1]:
            self._ends.append((self._ends[-1] if self._ends else 0.0) + seconds)
        total = sum(one.rate_per_s for one in figures.sources)
        self._factor, self._fixed_per_s = _changed(source, scenario, total, len(figures.sources))
        self._bursts = [
            (one.at_s, one.at_s + one.within_s, one.frames / one.within_s)
            for one in scenario.bursts
            if one.source in (None, source.name)
        ]
        self.mean_per_s = source.rate_per_s * self._factor if self._fixed_per_s is None else self._fixed_per_s
        self.edges = {*self._ends, *(edge for begin, end, _ in self._bursts for edge in (begin, end))}

    @property
    def has_bursts(self) -> bool:
        """Whether it has bursts."""
        return bool(self._bursts)

    def at(self, at_s: float) -> float:
        """Frames a second from `at_s` until the next edge."""
        rate = self._fixed_per_s
        if rate is None:
            rate = self._rates[bisect_right(self._ends, at_s)] * self._factor
        return rate + sum(more for begin, end, more in self._bursts if begin <= at_s < end)


def _changed(
    source: SourceFigures, scenario: Scenario, total_per_s: float, sources: int
) -> tuple[float, float | None]:
    """The factor of the source's load, or the rate in its place.

    A change of this source replaces one of all sources. A rate for all is divided as their present loads.
    """
    named = [one for one in scenario.rates if one.source == source.name]
    for change in named or [one for one in scenario.rates if one.source is None]:
        if change.factor is not None:
            return change.factor, None
        if change.per_s is not None:
            part = 1 / sources if total_per_s <= 0 else source.rate_per_s / total_per_s
            return 1.0, change.per_s if named else change.per_s * part
    return 1.0, None


def fair_share(capacity: float, others: Sequence[float]) -> float:
    """What one takes of the capacity that always wants more, while the others want only what is given."""
    left, takers = capacity, len(others) + 1
    for wanted in sorted(others):
        if wanted > left / takers:
            break
        left -= wanted
        takers -= 1
    return left / takers
