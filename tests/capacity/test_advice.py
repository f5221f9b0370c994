"""Suggested settings hold what was asked, and half of them does not."""

import tomllib
from dataclasses import replace

import pytest

from streamd.capacity.advice import Suggestion, rounded_up, suggestions
from streamd.capacity.figures import BufferFigures, Figures, StepFigures
from streamd.capacity.scenario import Scenario, parse_burst, parse_rate, parse_stall
from streamd.capacity.simulation import simulate
from tests.capacity.figures import figures, line, sink, source

STALL = Scenario(for_s=120, stalls=(parse_stall("records=60s"),))


def advised(parts: Figures, scenario: Scenario) -> list[Suggestion]:
    return suggestions(parts, scenario, simulate(parts, scenario))


def applied(parts: Figures, toml: str, share: float = 1.0) -> Figures:
    """The figures with a share of the buffers of a fragment, read as the daemon reads it."""
    given = tomllib.loads(toml)

    def changed(buffer: BufferFigures, kind: str, name: str) -> BufferFigures:
        wanted = given.get(kind, {}).get(name, {}).get("buffer", {})
        size = wanted.get("max_bytes")
        return replace(
            buffer,
            max_records=int(wanted.get("max_records", buffer.max_records) * share),
            max_bytes=int(int(size.removesuffix("MiB")) * 2**20 * share) if size else buffer.max_bytes,
        )

    return replace(
        parts,
        lines=tuple(
            replace(
                one,
                sources=tuple(replace(s, buffer=changed(s.buffer, "sources", s.name)) for s in one.sources),
                sinks=tuple(replace(s, buffer=changed(s.buffer, "sinks", s.name)) for s in one.sinks),
            )
            for one in parts.lines
        ),
    )


@pytest.mark.parametrize(
    ("parts", "scenario"),
    [
        (figures(), STALL),
        (figures(line((source(most=10),), (sink(most=10),))), STALL),
        (figures(line((source(when_full="block"),))), STALL),
        (figures(line((source(when_full="block", kernel_bytes=2**20),))), STALL),
        (figures(line(sinks=(sink(when_full="drop_newest"),))), STALL),
        (figures(), Scenario(for_s=300, bursts=(parse_burst("20000/2s@10s"),))),
        (figures(line((source("a"), source("b", 300)))), STALL),
    ],
)  # fmt: skip
def test_the_first_suggestion_holds_and_half_of_it_does_not(parts: Figures, scenario: Scenario) -> None:
    first = advised(parts, scenario)[0]
    assert first.holds

    def holds(share: float) -> bool:
        course = simulate(applied(parts, first.toml, share), scenario)
        return not course.losses and all(path.waits_from_s is None for path in course.paths)

    assert holds(1.0)
    assert not holds(0.5)


def test_a_suggestion_says_its_memory_and_raises_the_bytes_only_if_it_must() -> None:
    parts = figures()
    cheap = advised(parts, STALL)[0]
    assert cheap.toml == "[sources.udp.buffer]\nmax_records = 5500\n"
    assert cheap.memory_bytes == 5500 * 100
    object.__setattr__(parts.lines[0].sources[0].buffer, "max_bytes", 200_000)
    (first,) = [one for one in advised(parts, STALL) if "sources" in one.toml]
    assert first.toml == '[sources.udp.buffer]\nmax_records = 5500\nmax_bytes = "1MiB"\n'


def test_both_places_of_a_stall_are_shown_and_the_cheaper_is_first() -> None:
    shown = advised(figures(), STALL)
    assert [one.what for one in shown] == ["a larger buffer of source udp", "a larger buffer of sink records"]
    assert shown[0].memory_bytes < shown[1].memory_bytes
    assert all(one.holds for one in shown)


def test_a_scenario_that_needs_both_gets_both() -> None:
    parts = figures(line((source(most=500),), (sink(when_full="drop_newest"),)))
    scenario = Scenario(for_s=300, stalls=STALL.stalls, bursts=(parse_burst("9000@200s"),))
    first, *others = advised(parts, scenario)
    assert first.what == "larger buffers of source udp, sink records"
    assert first.holds
    assert set(tomllib.loads(first.toml)) == {"sources", "sinks"}
    assert [one.holds for one in others] == [False, False]
    assert not simulate(applied(parts, first.toml), scenario).losses


def test_nothing_is_suggested_where_nothing_is_lost() -> None:
    assert advised(figures(), Scenario()) == []


def test_measured_bursts_ask_for_more_room_than_poisson_arrivals() -> None:
    def room(dispersion: float | None) -> int:
        parts = figures(line((source(dispersion=dispersion),)))
        toml = advised(parts, STALL)[0].toml
        found: int = tomllib.loads(toml)["sources"]["udp"]["buffer"]["max_records"]
        return found

    assert room(None) == room(1.0) == 5500
    assert room(1000.0) > 2 * 5500 / 1.5


def test_a_waiting_step_gets_more_batches_at_a_time() -> None:
    step = StepFigures(
        name="main.python[0]", record_s=0.02, slots=1, key="pipelines.main.steps[0].concurrency"
    )
    first = advised(figures(line(steps=(step,))), Scenario(for_s=60))[0]
    assert first.toml == "# pipelines.main.steps[0].concurrency = 3"
    assert first.holds
    assert "now 1" in first.what


def test_a_load_beyond_the_core_needs_more_processes() -> None:
    first = advised(figures(line(process_s=0.001)), Scenario(rates=(parse_rate("1500/s"),)))[0]
    assert first.what.startswith("2 processes of streamd")
    assert "1.50 cores" in first.what
    assert first.holds
    assert first.toml == ""


def test_processes_that_are_not_enough_by_themselves_do_not_claim_to_hold() -> None:
    parts = figures(line(process_s=0.001, sinks=(sink(per_s=500),)))
    first = advised(parts, Scenario(rates=(parse_rate("1500/s"),)))[0]
    assert first.what.startswith("2 processes of streamd")
    assert not first.holds


def test_a_sink_that_is_too_slow_is_named_with_both_rates() -> None:
    shown = advised(figures(line(sinks=(sink(per_s=80),))), Scenario())
    (slow,) = [one for one in shown if "faster disk" in one.what]
    assert "100 records/s come, 80 can be written" in slow.what
    assert not slow.holds


def test_the_kernels_buffer_covers_a_pause_of_the_loop() -> None:
    parts = figures(line((source(rate=40_000, kernel_bytes=8 * 2**20),), (sink(per_s=1e6),), 1e-6))
    (only,) = advised(parts, Scenario())
    assert only.toml == '[sources.udp]\nreceive_buffer = "25MiB"\n'
    assert "0.5 s" in only.what
    slow = replace(parts, loop_lag_s=2.0)
    assert 'receive_buffer = "98MiB"' in advised(slow, Scenario())[0].toml
    assert advised(parts, Scenario(rates=(parse_rate("100/s"),))) == []


def test_names_that_are_no_bare_keys_are_quoted() -> None:
    parts = figures(line((source("a b"),)))
    assert advised(parts, STALL)[0].toml.startswith('[sources."a b".buffer]\n')


@pytest.mark.parametrize(
    ("number", "rounded"), [(0, 1), (7, 7), (99.5, 100), (101, 110), (5500, 5500), (5501, 5600)]
)  # fmt: skip
def test_numbers_are_rounded_up_to_two_digits(number: float, rounded: int) -> None:
    assert rounded_up(number) == rounded
