from collections.abc import Callable
from typing import Any

import pytest

from streamd.admin.status_answer import StatusAnswer
from streamd.core.printable import cells
from streamd.top.controls import Controls
from streamd.top.flow_units import flow_units
from streamd.top.page import Shown, page

Make = Callable[..., StatusAnswer]
HOSTILE = "x\x1b[2J\x1b]0;t\x07\u202e[bold]数据\n"


def shown(now: StatusAnswer, before: StatusAnswer | None = None, **more: Any) -> Shown:
    return Shown(now, flow_units(now, before), **more)


def lines(
    one: Shown, controls: Controls | None = None, width: int = 120, height: int | None = None
) -> list[str]:
    return [line.plain for line in page(one, controls or Controls(), width, height)]


def row(found: list[str], name: str) -> list[str]:
    return next(line for line in found if line.startswith(name)).split()


def test_the_rows_have_the_figures_of_the_status(status: Make, later: Callable[[Any], None]) -> None:
    found = lines(shown(status(later), status()))
    assert row(found, "sources") == [
        "sources", "in/s", "out/s", "rejected", "lost", "lost/s", "fill", "wait", "busy", "blocked", "idle",
    ]  # fmt: skip
    assert row(found, "udp") == [
        "udp", "250", "200", "30", "100", "50", "50%", "50", "ms", "25%", "50%", "25%",
    ]  # fmt: skip
    assert row(found, "main") == ["main", "0", "0", "20", "0", "0", "-", "-", "25%", "50%", "25%"]
    assert row(found, "store") == ["store", "0", "0", "1", "0", "0", "50%", "-", "<1%", "0%", ">99%"]
    assert "    lost: buffer_full 60, kernel_dropped 40" in found


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("height", [None, 3, 10, 24, 60])
def test_the_page_has_the_size_of_the_terminal_and_no_control_sequence(
    width: int, height: int | None, status: Make
) -> None:
    def change(made: Any) -> None:
        made["sources"][0]["name"] = HOSTILE
        made["sinks"][0] |= {"state": "retrying", "reason": HOSTILE, "retrying_for_s": 1.0, "name": HOSTILE}
        made["config"] = HOSTILE
        made["sources"][1]["frames"]["dropped"] = {HOSTILE: 1}
        made |= {"ready": False, "reasons": [HOSTILE], "version": HOSTILE}

    one = shown(status(change), senders=[(HOSTILE, HOSTILE, 5)])
    for controls in (Controls(), Controls(help=True), Controls(typing=True, filter="数" * 90)):
        found = lines(one, controls, width, height)
        assert all(cells(line) <= width and line.isprintable() for line in found)
        if height is not None:
            assert len(found) <= height
    gone = Shown(status(change), flow_units(status(change), None), 9.0, HOSTILE)
    assert all(cells(line) <= width and line.isprintable() for line in lines(gone, None, width, height))


def test_only_the_judgement_is_coloured(status: Make) -> None:
    first = page(shown(status()), Controls(), 120, None)[0]
    assert str(first.style) == ""
    assert [first.plain[span.start : span.end] for span in first.spans if span.style == "bold green"] == [
        "✓ Healthy"
    ]


def test_the_last_line_names_the_keys(status: Make) -> None:
    found = lines(shown(status()), height=40)
    assert len(found) == 40
    assert found[-1].endswith("q quit")
    assert lines(shown(status()), Controls(paused=True), height=40)[-1].startswith("paused: p goes on")
    assert lines(shown(status()), Controls(filter="u"), height=40)[-1].startswith("filter: u ")


def test_a_filter_keeps_names_that_contain_it(status: Make) -> None:
    found = lines(shown(status()), Controls(filter="UD"))
    assert row(found, "udp")
    assert not [line for line in found if line.startswith(("tcp", "main", "store"))]
    assert lines(shown(status()), Controls(filter="nope"))[-1] == "no name contains nope"


def test_the_sorted_column_is_marked_and_the_rows_follow(status: Make) -> None:
    found = lines(shown(status()), Controls(sort=0))
    assert found[3].startswith("sources▲")
    assert [line.split()[0] for line in found[4:6]] == ["tcp", "udp"]
    found = lines(shown(status()), Controls(sort=6))
    assert "fill▼" in found[3]
    assert "fill▲" in lines(shown(status()), Controls(sort=6, reverse=True))[3]


def test_what_does_not_fit_is_scrolled(status: Make) -> None:
    first = lines(shown(status()), None, 120, 10)
    assert first[8].startswith("… ")
    assert first[8].endswith("lines do not fit: j and k scroll")
    last = lines(shown(status()), Controls(scroll=1000), 120, 10)
    assert last[7].startswith("away")


def test_old_figures_are_dimmed_and_the_page_says_so(status: Make) -> None:
    for age_s, fault, words in (
        (2.9, None, "Healthy"), (3.1, None, "no news from the daemon for 3.0 s"),
        (5.0, "why", "✕ No daemon · why"),
    ):  # fmt: skip
        found = page(shown(status(), age_s=age_s, fault=fault), Controls(), 120, None)
        assert words in found[0].plain
        udp = next(line for line in found if line.plain.startswith("udp"))
        assert any(span.style == "dim" for span in udp.spans) == ("Healthy" not in words)
    assert "the figures are 5.0 s old" in lines(shown(status(), age_s=5.0, fault="why"))[0]


def test_before_the_first_status_the_page_says_what_it_waits_for() -> None:
    assert lines(Shown()) == ["… Connecting"]
    assert lines(Shown(fault="nobody is there")) == ["✕ No daemon · nobody is there · trying again"]


def test_what_comes_next_is_below_the_row(status: Make) -> None:
    def change(made: Any) -> None:
        made["outlook"][0] |= {
            "bottleneck": True, "capacity_per_s": 5000.0, "overflow_probability": 0.8, "horizon_s": 60.0,
            "full_in_s": {"low": 8, "median": 12, "high": 20}, "overflow_expected": True,
        }  # fmt: skip

    found = lines(shown(status(change)))
    place = found.index(next(line for line in found if line.startswith("udp")))
    assert found[place + 1 : place + 3] == [
        "    its workers limit the flow: they can do 5,000/s",
        "    will be full in 12 s (8.0 s to 20 s), 80% within 60 s",
    ]


@pytest.mark.parametrize(
    ("busy", "blocked", "capacity", "said"),
    [
        (0.95, 0.9, 480.0, "    step main.enrich limits the flow: it can do 480/s"),
        (0.95, 0.9, 0.0, "    step main.enrich limits the flow"),
        (0.95, 0.1, 480.0, "    its workers limit the flow: they can do 480/s"),
        (0.5, 0.9, 480.0, "    its workers limit the flow: they can do 480/s"),
    ],
)
def test_a_step_that_makes_the_workers_wait_is_what_limits_the_flow(
    status: Make, busy: float, blocked: float, capacity: float, said: str
) -> None:
    def change(made: Any) -> None:
        made["outlook"][0] |= {"bottleneck": True, "capacity_per_s": capacity}
        made["stages"][1]["recent"] = {"busy": 0.0, "blocked": blocked, "idle": 1 - blocked}
        made["stages"][2]["recent"] = {"busy": busy, "blocked": 0.0, "idle": 1 - busy}

    found = lines(shown(status(change)))
    place = found.index(next(line for line in found if line.startswith("udp")))
    assert found[place + 1] == said


def test_a_sink_limits_the_flow_itself(status: Make) -> None:
    def change(made: Any) -> None:
        limit = {"kind": "sink", "name": "store", "wait_s": 0.05, "bottleneck": True, "capacity_per_s": 90.0}
        made["outlook"].append(limit)

    assert "    limits the flow: it can do 90/s" in lines(shown(status(change)))


def test_senders_that_the_daemon_left_out_are_counted(status: Make) -> None:
    one = [("10.0.0.1", "missing numbers", 1200)]
    assert "more" not in lines(shown(status(), senders=one))[-1]
    assert lines(shown(status(), senders=one, senders_left_out=4000))[-1] == "    and 4,000 more"


def test_senders_with_findings_are_named(status: Make) -> None:
    found = lines(shown(status(), senders=[("10.0.0.1", "missing numbers", 1200)] * 5))
    assert found[-4:] == [*["    10.0.0.1  1,200  missing numbers"] * 3, "    and 2 more"]
    assert found[-5] == "senders with gaps, rejections or failed rules, last hour"
