"""Figures with other settings, beside which nothing changes."""

from dataclasses import replace

from streamd.capacity.figures import READ_S, StepFigures
from streamd.capacity.resizing import at_worst, divided, with_sink, with_sources, with_steps
from tests.capacity.figures import figures, line, sink, source

PARTS = figures(line((source("a", 100), source("b", 300)), (sink("x"), sink("y"))))


def test_only_the_named_buffers_grow() -> None:
    larger = with_sources(PARTS, {"b": 5000.0})
    assert [one.buffer.max_records for one in larger.sources] == [1000, 5000]
    assert larger.sinks == PARTS.sinks
    larger = with_sink(PARTS, "y", 7000.0)
    assert [one.buffer.max_records for one in larger.sinks.values()] == [1000, 7000]
    assert larger.sources == PARTS.sources


def test_a_buffer_never_shrinks_and_its_bytes_grow_only_if_they_must() -> None:
    assert with_sources(PARTS, {"a": 10.0}) == PARTS
    before = PARTS.sources[0].buffer
    (grown, _) = with_sources(PARTS, {"a": 20_000_000.0}).sources
    assert grown.buffer.max_bytes == 2385 * 2**20  # 100 B and a quarter for each, rounded up
    assert with_sources(PARTS, {"a": 2000.0}).sources[0].buffer.max_bytes == before.max_bytes


def test_processes_share_the_senders_evenly() -> None:
    assert [one.rate_per_s for one in divided(PARTS, 4).sources] == [25, 75]


def test_steps_and_hands_of_one_line_change() -> None:
    step = StepFigures(name="main.python[0]", record_s=0.02, slots=3)
    both = replace(PARTS, lines=(replace(PARTS.lines[0], in_hand=9.0), replace(PARTS.lines[0], name="other")))
    changed = with_steps(both, "other", (step,))
    assert [one.steps for one in changed.lines] == [(), (step,)]
    assert [one.in_hand for one in at_worst(both).lines] == [0, 0]
    writes = replace(PARTS.lines[0], sinks=(replace(PARTS.lines[0].sinks[0], most_written=9),))
    assert at_worst(replace(PARTS, lines=(writes,))).lines[0].sinks[0].most_written == 0


def test_at_worst_reading_that_was_not_measured_costs_time() -> None:
    assert at_worst(replace(PARTS, read_s=3e-6)).read_s == 3e-6
    assert at_worst(replace(PARTS, is_reading_known=False)).read_s == READ_S
