"""Arrivals and shares at each moment of a scenario."""

import pytest

from streamd.capacity.flows import Flows, fair_share
from streamd.capacity.scenario import Scenario, parse_burst, parse_rate, parse_stall
from tests.capacity.figures import figures, line, sink, source

TWO = (source("a", 100), source("b", 300))


def rates(scenario: Scenario) -> tuple[float, float]:
    flows = Flows(figures(line(TWO)), scenario)
    return flows.mean_per_s("a"), flows.mean_per_s("b")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((), (100, 300)),
        (("×2",), (200, 600)),
        (("800/s",), (200, 600)),
        (("a=×3",), (300, 300)),
        (("a=50/s",), (50, 300)),
        (("×2", "b=10/s"), (200, 10)),
        (("b=10/s", "×2"), (200, 10)),
    ],
)
def test_a_rate_of_one_source_goes_before_that_of_all(
    changes: tuple[str, ...], expected: tuple[float, float]
) -> None:
    assert rates(Scenario(rates=tuple(map(parse_rate, changes)))) == pytest.approx(expected)


def test_without_a_present_load_a_rate_for_all_is_divided_evenly() -> None:
    flows = Flows(figures(line((source("a", 0), source("b", 0)))), Scenario(rates=(parse_rate("80/s"),)))
    assert (flows.mean_per_s("a"), flows.mean_per_s("b")) == (40, 40)


def test_a_burst_adds_to_the_load_while_it_lasts() -> None:
    parts = figures(line((source("a", 100),)))
    flows = Flows(parts, Scenario(bursts=(parse_burst("5000/10s@20s"),)))
    of_line = parts.lines[0]
    assert [flows.at(at, of_line, "a", "records").inflow_per_s for at in (19.9, 20, 29.9, 30)] == [
        100, 600, 600, 100,
    ]  # fmt: skip
    assert flows.changes(100) == {20, 30}
    assert flows.highest_per_s("a", 100) == 600
    assert flows.highest_per_s("a", 20) == 100
    assert list(flows.arrivals("a", 100)) == [(20, 100), (10, 600), (70, 100)]


def test_a_stalled_sink_writes_nothing_and_other_sinks_go_on() -> None:
    parts = figures(line(sinks=(sink("x"), sink("y"))))
    flows = Flows(parts, Scenario(stalls=(parse_stall("x=5s@10s"),)))
    at = [flows.at(at, parts.lines[0], "udp", "x").sink_per_s for at in (9, 10, 14.9, 15)]
    assert at == [1000, 0, 0, 1000]
    assert flows.at(12, parts.lines[0], "udp", "y").sink_per_s == 1000


def test_reading_takes_time_of_the_core_from_the_workers() -> None:
    parts = figures(line((source(rate=200),), process_s=0.002), read_s=0.001)
    flows = Flows(parts, Scenario())
    assert flows.at(0, parts.lines[0], "udp", "records").workers_per_s == pytest.approx(0.8 / 0.002)
    assert flows.busy() == pytest.approx(200 * 0.003)
    livelock = Flows(parts, Scenario(rates=(parse_rate("2000/s"),)))
    assert livelock.at(0, parts.lines[0], "udp", "records").workers_per_s == 0


def test_a_step_that_costs_more_slows_the_workers() -> None:
    parts = figures(line(process_s=0.001))
    slow = Flows(parts, Scenario(step_cost_s=0.001)).at(0, parts.lines[0], "udp", "records")
    assert slow.workers_per_s == pytest.approx(500)
    free = Flows(parts, Scenario(step_cost_s=-1.0)).at(0, parts.lines[0], "udp", "records")
    assert free.workers_per_s == float("inf")


def test_other_sources_get_what_they_need_up_to_a_fair_share() -> None:
    assert fair_share(100, []) == 100
    assert fair_share(100, [10]) == 90
    assert fair_share(100, [10, 500]) == 45
    assert fair_share(100, [500, 500]) == pytest.approx(100 / 3)
    assert fair_share(0, [500]) == 0
    parts = figures(line(TWO, process_s=0.001))
    flows = Flows(parts, Scenario())
    assert flows.at(0, parts.lines[0], "a", "records").workers_per_s == pytest.approx(700)
    assert flows.at(0, parts.lines[0], "b", "records").sink_per_s == pytest.approx(900)
    assert flows.share_of_sink("b", "records") == pytest.approx(0.75)


def test_sources_that_bring_more_than_they_get_are_named() -> None:
    parts = figures(line((source("a", 100), source("b", 950)), process_s=0.001))
    assert Flows(parts, Scenario()).overloaded() == ["b"]
    assert Flows(parts, Scenario(rates=(parse_rate("b=800/s"),))).overloaded() == []
    slow_sink = figures(line((source("a", 100),), (sink(per_s=50),)))
    assert Flows(slow_sink, Scenario()).overloaded() == ["a"]


def test_a_history_goes_on_with_its_last_rate() -> None:
    of_history = source("a")
    object.__setattr__(of_history, "load", ((5, 10), (5, 30), (1, 0)))
    parts = figures(line((of_history,)))
    flows = Flows(parts, Scenario(rates=(parse_rate("×2"),)))
    inflows = [flows.at(at, parts.lines[0], "a", "records").inflow_per_s for at in (0, 4.9, 5, 9.9, 10, 99)]
    assert inflows == [20, 20, 60, 60, 0, 0]
