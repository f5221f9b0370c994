import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.now import Now
from streamd.sensors import SensorStream
from streamd.sources import generate as generate_module
from streamd.sources.generate import Generate

REFUSALS: dict[str, Any] = {}
"""It opens nothing."""

Until = Callable[[Callable[[], bool]], Awaitable[None]]


def generate(**options: Any) -> Generate:
    config = Generate.Config.model_validate({"type": "generate", "rate": 100_000} | options)
    return Generate(config, SourceContext("sensors", Counters(), None))


async def test_a_given_number_of_readings_comes_as_send_makes_them(capture: Any, until: Until) -> None:
    source = generate(count=5000, seed=7, sensors=10)
    await source.open(capture)
    await until(lambda: len(capture.payloads) >= 5000)
    await source.stop()
    assert capture.payloads == SensorStream(7, 10).lines(5000)
    assert set(capture.peers) == {"generate"}


async def test_missing_readings_show_in_seq_and_are_counted(capture: Any, until: Until) -> None:
    source = generate(count=5000, gaps=0.1)
    await source.open(capture)
    notes = source.context.counters
    await until(lambda: len(capture.payloads) + notes["generated_gaps", ""] == 5000)
    await source.stop()
    assert 300 < notes["generated_gaps", ""] < 700
    seqs = [json.loads(line)["seq"] for line in capture.payloads]
    assert seqs == sorted(set(seqs))


async def test_it_keeps_to_its_rate(capture: Any, until: Until) -> None:
    source = generate(rate=1000)
    started_s = time.monotonic()
    await source.open(capture)
    await until(lambda: len(capture.payloads) >= 100)
    took_s = time.monotonic() - started_s
    await source.stop()
    assert len(capture.payloads) <= 1 + 1000 * took_s
    assert took_s >= 0.09


async def test_a_full_buffer_pauses_it_and_what_was_missed_is_not_made_up_for(
    capture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr(generate_module, "read_clock", lambda: Now(now_s, now_s))
    source = generate(rate=10_000)
    capture.accepting = False
    await source.open(capture)
    assert source._timer is None
    assert len(capture.payloads) == 1
    now_s += 0.1  # a thousand would have come
    capture.resume()
    assert source._timer is None
    assert len(capture.payloads) == 1 + 200
    await source.stop()
    now_s += 0.1
    capture.accepting = True
    capture.resume()
    assert len(capture.payloads) == 1 + 200


async def test_it_pauses_at_every_full_buffer_and_goes_on_after_it(capture: Any, until: Until) -> None:
    source = generate(rate=10_000)
    await source.open(capture)
    for _ in range(4):
        offers = len(capture.offered)
        await until(lambda: len(capture.offered) > offers + 3)  # noqa: B023 - awaited in its own turn
        capture.accepting = False
        await until(lambda: source._paused)
        capture.accepting = True
        capture.resume()
        assert not source._paused
    await source.stop()


async def test_a_tick_makes_no_more_than_a_thousand_readings_so_that_the_loop_turns(
    capture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr(generate_module, "read_clock", lambda: Now(now_s, now_s))
    source = generate(rate=1_000_000)
    capture.accepting = False
    await source.open(capture)
    now_s += 3600.0
    capture.resume()
    assert [len(frames) for frames in capture.offered] == [1, 1000]
    await source.stop()


async def test_a_call_for_more_while_it_is_not_paused_starts_no_second_stream(
    capture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr(generate_module, "read_clock", lambda: Now(now_s, now_s))
    source = generate(rate=10)
    await source.open(capture)
    timer = source._timer
    assert timer is not None
    now_s += 0.1
    capture.resume()
    assert source._timer is timer
    assert len(capture.payloads) == 1
    await source.stop()


async def test_after_the_stop_no_tick_is_left_to_come(capture: Any) -> None:
    source = generate(rate=10)
    await source.open(capture)
    timer = source._timer
    assert timer is not None
    await source.stop()
    assert timer.cancelled()
    assert source._timer is timer
    assert len(capture.payloads) == 1


async def test_it_may_be_stopped_twice_and_before_it_is_opened() -> None:
    source = generate()
    await source.stop()
    await source.stop()


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"rate": 1e7}, {"count": 0}, {"gaps": 1.1}, {"spikes": -1}, {"sensors": 0}]
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        generate(**wrong)
    assert [error["loc"] for error in refused.value.errors()] == [tuple(wrong)]
