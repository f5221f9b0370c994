"""The sentence and the document of a prediction."""

import json
from dataclasses import replace

import pytest

from streamd.capacity.figures import Figures, StepFigures, UnknownCapacityError
from streamd.capacity.prediction import predict
from streamd.capacity.resizing import at_worst
from streamd.capacity.scenario import Scenario, parse_burst, parse_rate, parse_stall
from tests.capacity.figures import figures, line, sink, source

SLOW = StepFigures(name="main.python[0]", record_s=0.02, slots=1)
STALL = Scenario(for_s=60, stalls=(parse_stall("records=30s"),))


TWICE_AND_MORE = Scenario(rates=(parse_rate("2000/s"),))


def test_a_load_that_holds_is_said_with_the_fullest_buffer_and_the_delay() -> None:
    found = predict(figures(), Scenario(for_s=60, stalls=(parse_stall("records=5s"),)))
    assert found.holds
    assert found.sentence == (
        "Holds: nothing is lost; the fullest buffer is that of sink records with 50% (500), the longest delay"
        " 5 s."
    )


def test_a_loss_is_said_with_its_amount_time_place_and_policy() -> None:
    found = predict(figures(), STALL)
    assert not found.holds
    assert found.sentence == (
        "Loses 1,000 records from second 20: the buffer of source udp is full (drop_oldest)."
    )


def test_a_sink_that_tries_again_late_may_lose_what_the_stall_itself_does_not() -> None:
    found = predict(figures(), Scenario(for_s=60, stalls=(parse_stall("records=18s"),)))
    assert found.holds
    assert (
        "But up to 425 may be lost: a stalled sink may try again up to 6.2 s after its stall."
        in found.sentence
    )
    assert not found.is_safe
    assert found.suggestions[0].holds
    assert found.document()["lost_at_worst"] == pytest.approx(425)
    short = predict(figures(), Scenario(for_s=60, stalls=(parse_stall("records=9s"),)))
    assert "may be lost" not in short.sentence
    assert short.is_safe
    assert short.suggestions == []


def test_batches_in_the_hands_of_workers_are_room_that_no_suggestion_counts_on() -> None:
    held = replace(line(steps=(SLOW,)), in_hand=500.0)
    scenario = Scenario(for_s=60, rates=(parse_rate("70/s"),))
    found = predict(figures(held), scenario)
    assert found.holds
    assert "But up to 200 may be lost: workers may hold fewer frames before a step" in found.sentence
    assert found.suggestions[0].holds
    assert predict(figures(line(steps=(SLOW,))), scenario).lost == pytest.approx(200)


def test_waiting_senders_are_said() -> None:
    found = predict(figures(line((source(when_full="block"),))), STALL)
    assert found.holds
    assert "Senders of udp wait from second 20 (at most 1,000 frames)." in found.sentence


def test_the_kernel_is_said() -> None:
    found = predict(figures(line((source(when_full="block", kernel_bytes=1280),))), STALL)
    assert "the kernel's buffer of source udp is full, because its own buffer blocks" in found.sentence


def test_steps_without_a_known_cost_are_said_beside_the_answer() -> None:
    free = replace(figures(), free_steps=("python", "filter"))
    found = predict(free, Scenario())
    assert found.holds
    assert not found.is_certain
    assert not found.is_safe
    assert found.sentence.startswith("Holds without the cost of the steps python, filter: nothing is lost;")
    assert (
        "The cost of the steps python, filter is not known and not included: expect less. Ask a running"
        " daemon, or give it with --step-cost." in found.sentence
    )
    lost = predict(free, STALL)
    assert lost.sentence.startswith("Loses at least 1,000 records")
    assert lost.document()["certain"] is False
    assert lost.suggestions == []
    light = predict(replace(figures(line(at_least=True)), free_steps=("python",)), TWICE_AND_MORE)
    assert light.sentence.startswith("May lose about ")


def test_a_step_cost_that_is_given_is_known() -> None:
    given = Scenario(step_cost_s=5e-6)
    found = predict(replace(figures(), free_steps=("python",)), given)
    assert found.is_safe
    assert found.sentence.startswith("Holds: ")
    assert "not known" not in found.sentence
    saved = predict(replace(figures(), free_steps=("python",)), Scenario(step_cost_s=-5e-6))
    assert not saved.is_certain


def test_reading_that_was_not_measured_may_lose_records_that_it_would_not_if_it_were_free() -> None:
    unknown = replace(figures(line(process_s=10e-6, sinks=(sink(per_s=1e6),))), is_reading_known=False)
    slow = predict(unknown, Scenario(rates=(parse_rate("5000/s"),)))
    assert slow.is_safe
    fast = predict(unknown, Scenario(rates=(parse_rate("50000/s"),)))
    assert fast.holds
    assert not fast.is_safe
    assert "may be lost: reading was not measured and may cost 50 µs a frame" in fast.sentence


def test_a_load_above_the_capacity_is_said() -> None:
    found = predict(figures(), Scenario(rates=(parse_rate("2000/s"),)))
    assert "The load of udp is more than the capacity, so no buffer holds it for good." in found.sentence


@pytest.mark.parametrize(
    ("parts", "scenario", "certain"),
    [
        (figures(line(at_least=True)), Scenario(), True),
        (figures(line(at_least=True)), Scenario(rates=(parse_rate("2000/s"),)), False),
        (figures(line(sinks=(sink(per_s=5, at_least=True),))), Scenario(
            rates=(parse_rate("9/s"),)), False),
        (figures(line(sinks=(sink(at_least=True),))), STALL, True),
        (figures(line(at_least=True)), STALL, True),
        (figures(line(steps=(SLOW,), at_least=True)), Scenario(), True),
    ],
)  # fmt: skip
def test_a_loss_by_costs_of_a_light_load_is_not_certain(
    parts: Figures, scenario: Scenario, certain: bool
) -> None:
    found = predict(parts, scenario)
    assert found.is_certain is certain
    assert ("light load" in found.sentence) is not certain
    assert found.sentence.startswith("Loses" if certain else "May lose up to") or found.holds
    assert bool(found.suggestions) is (certain and not found.holds)


def test_without_a_load_there_is_no_prediction() -> None:
    idle = figures(line((source(rate=0),)))
    with pytest.raises(UnknownCapacityError, match="give the load, like --rate 50000/s"):
        predict(idle, Scenario(rates=(parse_rate("×2"),)))
    assert predict(idle, Scenario(rates=(parse_rate("10/s"),))).holds
    assert predict(idle, Scenario(bursts=(parse_burst("10"),))).holds


def test_without_a_record_at_a_sink_there_is_no_prediction() -> None:
    parts = figures()
    object.__setattr__(parts.lines[0], "per_frame", {"records": 0.0})
    with pytest.raises(UnknownCapacityError, match="no record has reached a sink"):
        predict(parts, Scenario())


def test_the_document_has_the_course_the_suggestions_and_what_was_assumed() -> None:
    document = json.loads(json.dumps(predict(figures(), STALL).document(), allow_nan=False))
    assert document["holds"] is False
    assert document["certain"] is True
    assert document["lost"] == pytest.approx(1000)
    assert document["first_loss_s"] == pytest.approx(20)
    assert [loss["name"] for loss in document["losses"]] == ["udp"]
    assert [one["name"] for one in document["buffers"]] == ["udp", "records"]
    length = len(document["at_s"])
    assert {len(document[key]) for key in ("lost_until", "delay_s")} == {length}
    assert {len(one["held"]) for one in document["buffers"]} == {length}
    assert document["suggestions"][0]["toml"].startswith("[sources.udp.buffer]")
    assert any("Poisson" in line for line in document["assumed"])
    assert any("one core" in line for line in document["assumed"])
    assert document["scenario"]["words"] == "sink records stalled for 30 s, over 1 min"


def test_the_document_is_json_even_without_limits() -> None:
    free = figures(line((source(),), (sink(per_s=float("inf")),), 0.0))
    document = predict(free, Scenario()).document()
    assert json.loads(json.dumps(document, allow_nan=False))["holds"] is True


def locked(rate: float = 500.0) -> Figures:
    """A source and a database as in tests/evaluation/capacity.py."""
    database = replace(sink(per_s=4500.0), max_wait_s=0.2, most_written=500, attempt_s=1.0)
    return figures(line((source(rate=rate, when_full="drop_newest"),), (database,), process_s=0.0001))


def test_a_locked_database_goes_on_when_it_tries_again_and_its_commit_holds_records() -> None:
    found = predict(locked(), Scenario(for_s=25, stalls=(parse_stall("records=12s@2s"),)))
    # 13.0875 s of 500/s, less both buffers and the 0.2 s of the commit under way
    assert found.lost == pytest.approx(500 * 13.0875 - 2000 - 100)
    assert (
        "sink records: each attempt fails after 1 s in the stall; with the usual pauses it goes on 1.1 s"
        " after the end" in found.assumed
    )
    (loss,) = found.course.losses
    assert loss.first_s == pytest.approx(2 + 2100 / 500)
    assert found.at_worst.lost[-1] == pytest.approx(500 * 18.25 - 2000)


def test_a_write_that_hangs_goes_on_at_once() -> None:
    found = predict(figures(), STALL)
    assert "sink records: its write hangs in the stall, and goes on when that ends" in found.assumed
    assert found.lost == pytest.approx(1000)


def test_a_sink_that_cannot_keep_up_always_holds_a_whole_commit() -> None:
    parts = locked(rate=5000.0)
    found = predict(parts, Scenario(for_s=10))
    assert found.course.losses[0].first_s == pytest.approx(2500 / 500)
    assert predict(at_worst(parts), Scenario(for_s=10)).course.losses[0].first_s == pytest.approx(4)


def test_a_slow_sink_that_only_its_commits_keep_from_losing_is_no_safe_one() -> None:
    found = predict(replace(locked(4700.0), is_reading_known=True), Scenario(for_s=11))
    assert found.holds  # 200/s too many fill 2,200 of 2,500
    assert found.sentence.endswith(
        "But up to 200 may be lost: a commit that has just begun may hold fewer records."
    )


def test_a_commit_that_may_hold_fewer_records_is_a_reason_for_more_loss() -> None:
    found = predict(locked(150.0), Scenario(for_s=60, stalls=(parse_stall("records=12s@2s"),)))
    assert found.holds
    assert "a commit that has just begun may hold fewer records" in found.sentence


def test_a_codec_of_unknown_cost_makes_the_answer_uncertain() -> None:
    parts = replace(figures(), guessed_codecs=("csv", "regex"))
    found = predict(parts, Scenario(for_s=60))
    assert found.holds
    assert not found.is_certain
    assert "The cost of the codecs csv, regex is not known and taken as that of json" in found.sentence
    assert predict(parts, Scenario(for_s=60, step_cost_s=1e-6)).is_certain
