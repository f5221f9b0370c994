"""Scenarios in the words of the command line, and messages for other words."""

import re

import pytest

from streamd.capacity.scenario import (
    LONGEST_PAUSE_S,
    Burst,
    RateChange,
    Scenario,
    Stall,
    parse_burst,
    parse_for,
    parse_frame_size,
    parse_over,
    parse_rate,
    parse_stall,
    parse_step_cost,
)
from streamd.core.errors import ConfigError
from streamd.core.printable import printable
from streamd.runtime.backoff import Backoff


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("×2", RateChange(None, 2.0, None)),
        ("x2", RateChange(None, 2.0, None)),
        ("2x", RateChange(None, 2.0, None)),
        ("*1.5", RateChange(None, 1.5, None)),
        ("×0", RateChange(None, 0.0, None)),
        ("50000/s", RateChange(None, None, 50000.0)),
        ("3000/min", RateChange(None, None, 50.0)),
        ("7200/h", RateChange(None, None, 2.0)),
        ("udp=×3", RateChange("udp", 3.0, None)),
        ("a=b=10/s", RateChange("a=b", None, 10.0)),
    ],
)
def test_a_rate_is_a_multiple_or_a_number_a_second(text: str, change: RateChange) -> None:
    assert parse_rate(text) == change


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("50000", 'write "50000/s" or "×50000"'),
        ("udp=50000", 'write "udp=50000/s" or "udp=×50000"'),
        ("50k/s", 'write "50000/s"'),
        ("50,000/s", 'write "50000/s"'),
        ("50_000/sec", 'write "50000/s"'),
        ("50000 per second", 'write "50000/s"'),
        ("1.5M/s", 'write "1500000/s"'),
        ("60/m", 'write "60/min"'),
        ("200%", 'write "×2"'),
        ("+20%", 'write "×1.2"'),
        ("-20%", 'write "×0.8"'),
        ("double", "like ×2, or a rate like 50000/s"),
        ("", "like ×2, or a rate like 50000/s"),
        ("-5/s", "like ×2, or a rate like 50000/s"),
        ("1e9999/s", "like ×2, or a rate like 50000/s"),
        ("999999999999999/s", "at most 1,000,000,000,000"),
        ("99999999999999999999/s", "at most 1,000,000,000,000"),
        ("1e5/s", 'write "100000/s"'),
        ("=5/s", "like ×2"),
        ("٣/s", "like ×2, or a rate like 50000/s"),
    ],
)
def test_another_rate_is_answered_with_the_one_that_is_meant(text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_rate(text)
    assert hint in str(refused.value)
    assert str(refused.value).startswith("--rate ")


def test_a_stall_names_its_sink_and_may_begin_later() -> None:
    assert parse_stall("readings=30s") == Stall("readings", 30.0, 0.0)
    assert parse_stall("readings=2m@90s") == Stall("readings", 120.0, 90.0)
    assert parse_stall("readings=2m@0s") == Stall("readings", 120.0, 0.0)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("30s", 'write "SINK=30s"'),
        ("readings", 'write "readings=30s"'),
        ("readings=30", 'write "readings=30s"'),
        ("readings=30sec", 'write "readings=30s"'),
        ("readings=", '--stall readings=: "" is not a duration'),
        ("readings=0s", "a duration of at least 1us"),
        ("readings=9999d", "at most 366 days"),
        (
            "readings=30s@later",
            "later is not a duration of at least 1us",
        ),
        ("readings=30s@", 'write "readings=30s@30s"'),
        ("=30s", 'write "SINK=30s"'),
    ],
)
def test_another_stall_is_answered_with_a_suggestion(text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_stall(text)
    assert hint in str(refused.value)


def test_a_burst_comes_within_a_second_unless_it_says_how_fast() -> None:
    assert parse_burst("200000") == Burst(None, 200000, 1.0, 0.0)
    assert parse_burst("200000@10s") == Burst(None, 200000, 1.0, 10.0)
    assert parse_burst("udp=5000/20s@1m") == Burst("udp", 5000, 20.0, 60.0)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("200k", 'write "200000"'),
        ("200,000", 'write "200000"'),
        ("udp=1.5M", 'write "udp=1500000"'),
        ("0", "a number of frames from 1 to 1,000,000,000,000, like 200000"),
        ("many", "a number of frames"),
        ("200000/10", 'write "200000/10s"'),
        ("5@", "--burst 5@: "),
        ("5@10", 'write "5@10s"'),
        ("1e5", 'write "100000"'),
        ("200000/0s", 'write "200000/30s"'),
        ("1000000000/1us", "frames a second"),
        ("999999999999999", "from 1 to 1,000,000,000,000"),
    ],
)
def test_another_burst_is_answered_with_a_suggestion(text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_burst(text)
    assert hint in str(refused.value)


def test_a_stalled_sink_may_notice_the_end_as_late_as_its_longest_pause() -> None:
    scenario = Scenario(stalls=(parse_stall("a=2s@5s"), parse_stall("b=60s")))
    assert scenario.with_late_retries().stalls == (Stall("a", 4.625, 5.0), Stall("b", 66.25, 0.0))
    pauses = Backoff(seed=1)
    assert max(pauses.next_s() for _ in range(200)) <= LONGEST_PAUSE_S


def test_a_scenario_divides_rates_and_bursts_but_not_multiples() -> None:
    scenario = Scenario(rates=(parse_rate("x=90/s"), parse_rate("×2")), bursts=(parse_burst("10"),))
    parts = scenario.divided(3)
    assert [(one.factor, one.per_s) for one in parts.rates] == [(None, 30.0), (2.0, None)]
    assert parts.bursts[0].frames == 4


def test_a_step_may_cost_more_or_less() -> None:
    assert parse_step_cost("+5us") == pytest.approx(5e-6)
    assert parse_step_cost("5µs") == pytest.approx(5e-6)
    assert parse_step_cost("-2ms") == pytest.approx(-2e-3)
    with pytest.raises(ConfigError, match='write "\\+5us"'):
        parse_step_cost("+5")


def test_a_duration_without_a_unit_is_refused() -> None:
    assert parse_for("10m") == 600.0
    with pytest.raises(ConfigError, match=r'--for 10: .*write "10s"'):
        parse_for("10")


@pytest.mark.parametrize(
    ("scenario", "text"),
    [
        (Scenario(stalls=(parse_stall("reading=5s"),)),
         '--stall: there is no sink reading (did you mean "readings"?); there are readings, archive'),
        (Scenario(rates=(parse_rate("upd=×2"),)),
         '--rate: there is no source upd (did you mean "udp"?); there are udp, tcp'),
        (Scenario(bursts=(parse_burst("x=5"),)), "--burst: there is no source x; there are udp, tcp"),
        (Scenario(bursts=(parse_burst("5"),)), '--burst: which source? Write "udp=5"; there are udp, tcp'),
        (Scenario(rates=(parse_rate("×2"), parse_rate("×3"))), "--rate: give one for all sources"),
        (Scenario(rates=(parse_rate("udp=×2"), parse_rate("udp=×3"))), "--rate: udp is named twice"),
        (Scenario(for_s=60, stalls=(parse_stall("archive=5s@2m"),)), "--stall begins at second 120"),
        (Scenario(for_s=60, bursts=(parse_burst("udp=5@2m"),)), "--burst begins at second 120"),
    ],
)  # fmt: skip
def test_names_and_times_are_checked_against_the_daemon(scenario: Scenario, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        scenario.check(["udp", "tcp"], ["readings", "archive"])
    assert text in str(refused.value)


def test_a_scenario_can_be_said_in_words() -> None:
    scenario = Scenario(
        120.0,
        (parse_rate("×2"),),
        (parse_stall("readings=30s@60s"),),
        (parse_burst("udp=200000"),),
        parse_step_cost("+5us"),
    )
    scenario.check(["udp"], ["readings"])
    assert scenario.words == (
        "the rate ×2, sink readings stalled for 30 s from second 60, a burst of 200,000 frames of udp within"
        " 1 s, steps that cost +5 µs a record, over 2 min"
    )
    assert Scenario().words == "the load as it is, over 10 min"


PARSERS = {
    "--rate": parse_rate,
    "--stall": parse_stall,
    "--burst": parse_burst,
    "--step-cost": parse_step_cost,
    "--for": parse_for,
    "--over": parse_over,
    "--frame-size": parse_frame_size,
}
ODD = [
    "", " ", "0", "0s", "0B", "-0", "-5", "-5s", "-5/s", "5", "5 s", "=", "@", "/", "=5", "5=", "x=",
    "x=@", "x=5@", "5@", "5/", "5/@", "5@/", "x=5/", "x=5s@", "x=5s@-1s", "x==", "5@@5", "1e5", "1e5/s",
    "1e99", "1E+5us", "nan", "inf", "99999999999999999999", "99999999999999999999/s",
    "×99999999999999999999", "999999999999999999s", "5/s/s", "999999999999999TB", "٣", "٣/s", "٣s",
    "x=٣s", "3d ago", "\n", "5\x1b[31m", "x=5\u202es", "5us5", "0x10", "5,5", "1_0", "0.0000001us",
    "367d", "5ks", "100%", "-200%", "+5/s", "5 per s", "200k", "1.5M", "x=200k@5", "0/s@", "SINK",
    "5MiBs",
]  # fmt: skip


@pytest.mark.parametrize("option", PARSERS)
def test_each_refusal_shows_the_value_and_suggests_only_what_is_accepted(option: str) -> None:
    refused = 0
    for text in ODD:
        try:
            PARSERS[option](text)
        except ConfigError as error:
            refused += 1
            said = str(error)
            shown = printable(text)
            assert said.startswith((f"{option} {shown}: ", f'{option} "{shown}": ')), said
            assert "not a " in said
            assert said.isprintable()
            assert " like " in said or "a second" in said
            for meant in re.findall(r'(?:; write| or) "([^"]+)"', said):
                PARSERS[option](meant)
    assert refused > len(ODD) / 2


@pytest.mark.parametrize("text", ["0B", "0.5B", "-5B", "2GiB", "300"])
def test_a_frame_has_a_size(text: str) -> None:
    assert parse_frame_size("300B") == 300
    with pytest.raises(ConfigError, match=r"--frame-size \S+: not a size of at least 1B and at most 1GiB"):
        parse_frame_size(text)


def test_a_step_cannot_save_more_than_the_workers_need() -> None:
    Scenario(step_cost_s=-5e-6).check([], [], 5e-6)
    with pytest.raises(ConfigError, match=r"--step-cost -5000000us: .* 14 µs for a record") as refused:
        Scenario(step_cost_s=-5.0).check([], [], 14e-6)
    (meant,) = re.findall(r'write "([^"]+)"', str(refused.value))
    Scenario(step_cost_s=parse_step_cost(meant)).check([], [], 14e-6)


def test_a_sink_whose_attempts_fail_goes_on_after_its_pause_and_another_at_once() -> None:
    scenario = Scenario(stalls=(parse_stall("a=12s@2s"), parse_stall("b=12s")))
    fails, hangs = scenario.with_retries({"a": 1.0}).stalls
    assert (fails.sink, fails.at_s) == ("a", 2.0)
    assert fails.for_s == pytest.approx(13.0875)
    assert hangs == Stall("b", 12.0, 0.0)
