from collections.abc import Callable
from typing import Any

import pytest

from streamd.admin.status_answer import StatusAnswer
from streamd.top.flow_units import flow_units

Make = Callable[..., StatusAnswer]


def test_every_unit_of_the_flow_has_its_totals(status: Make) -> None:
    units = {(unit.group, unit.name): unit for unit in flow_units(status(), None)}
    assert list(units) == [
        ("source", "udp"), ("source", "tcp"), ("pipeline", "main"), ("step", "main.enrich"),
        ("sink", "store"), ("sink", "away"),
    ]  # fmt: skip
    totals = {
        name: (unit.counts.entered, unit.counts.left, unit.counts.rejected)
        for (_, name), unit in units.items()
    }
    assert totals == {
        "udp": (1000, 900, 30), "tcp": (10, 10, 0), "main": (910, 890, 20), "main.enrich": (10, 5, 0),
        "store": (890, 809, 1), "away": (0, 0, 0),
    }  # fmt: skip
    assert all(unit.entered_per_s is None and unit.lost_per_s is None for unit in units.values())


def test_shares_wait_and_fill_are_those_of_the_status(status: Make) -> None:
    udp, tcp, main, step, store, away = flow_units(status(), None)
    assert udp.fill == 0.5
    assert (udp.outlook and udp.outlook.wait_s, tcp.outlook) == (0.05, None)
    assert (tcp.fill, tcp.shares, away.shares) == (None, None, None)
    assert main.shares is not None  # the stage of pipelines that share sources has the names of all
    assert (main.shares.busy, main.shares.blocked, main.shares.idle) == (0.25, 0.5, 0.25)
    assert step.shares is not None
    assert store.shares is not None
    assert store.shares.busy == 0.004


def test_a_buffer_that_is_full_of_bytes_is_full(status: Make) -> None:
    def change(made: Any) -> None:
        made["sources"][0]["buffer"] |= {"bytes": 100_000}

    assert flow_units(status(change), None)[0].fill == 1.0


def test_rates_are_by_the_clock_of_the_daemon(status: Make, later: Callable[[Any], None]) -> None:
    udp = flow_units(status(later), status())[0]
    assert (udp.entered_per_s, udp.left_per_s, udp.lost_per_s) == (250, 200, 50)
    assert udp.counts.lost == {"buffer_full": 60, "kernel_dropped": 40}


def test_without_stages_rates_are_by_the_number_of_the_second(
    status: Make, later: Callable[[Any], None]
) -> None:
    def change(made: Any) -> None:
        later(made)
        made["stages"] = []

    assert flow_units(status(change), status())[0].entered_per_s == 250


@pytest.mark.parametrize("what", ["another run", "the same second", "a counter that began anew"])
def test_there_is_no_rate_over_a_restart(what: str, status: Make, later: Callable[[Any], None]) -> None:
    def change(made: Any) -> None:
        if what != "the same second":
            later(made)
        if what == "another run":
            made["run_id"] = "b"
        if what == "a counter that began anew":
            made["sources"][0]["frames"]["received"] = 3

    udp = flow_units(status(change), status())[0]
    assert (udp.entered_per_s, udp.left_per_s, udp.lost_per_s) == (None, None, None)


def test_a_sink_in_trouble_says_why(status: Make) -> None:
    def change(made: Any) -> None:
        made["sinks"][0] |= {"state": "retrying", "reason": "disk full", "retrying_for_s": 9.0}

    store = flow_units(status(change), None)[4]
    assert (store.trouble, store.retrying_for_s) == ("disk full", 9.0)


def test_a_daemon_without_outlook_has_the_same_units(status: Make) -> None:
    def change(made: Any) -> None:
        for key in ("outlook", "seq", "started_at"):
            del made[key]

    assert len(flow_units(status(change), None)) == 6
