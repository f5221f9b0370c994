from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from streamd.admin.status_answer import FullInStatus, StatusAnswer
from streamd.top.flow_units import flow_units
from streamd.top.sentence import Sentence, full_in, sentence

Make = Callable[..., StatusAnswer]


def said(now: StatusAnswer, before: StatusAnswer | None = None, lost_at: datetime | None = None) -> Sentence:
    return sentence(now, flow_units(now, before), lost_at)


def test_a_daemon_without_fault_is_healthy(status: Make) -> None:
    level, word, parts = said(status())
    assert (level, word) == ("good", "Healthy")
    assert parts[0].startswith("nothing lost since 2026-12-01 ")


def test_rates_room_and_losses_are_figures(status: Make, later: Callable[[Any], None]) -> None:
    level, word, parts = said(status(later), status(), datetime(2026, 12, 1, tzinfo=UTC))
    assert (level, word) == ("bad", "Trouble")
    assert parts[:2] == ["losing 50/s", "250/s in"]
    assert parts[2].startswith("100 lost since the start, last at 2026-12-01 ")
    assert parts[3] == "buffers hold 200 ms"
    assert "100 lost since the start" in said(status(later)).parts


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"phase": "draining", "ready": False}, "warn", "draining"),
        ({"ready": False, "reasons": ["a", "b"]}, "bad", "not ready: a; b"),
        ({"ready": False}, "bad", "not ready: no reason given"),
        ({"imbalances": ["x", "y"]}, "bad", "the books do not balance: x"),
        ({"reload_failure": {"at": "2026-12-01T00:00:00Z", "why": []}}, "warn", "the newest reload failed"),
        (
            {"outlook": [{"kind": "sink", "name": "s", "overflow_expected": True,
                          "full_in_s": {"low": 8, "median": 12, "high": 20}}]},
            "bad", "sink s will be full in 12 s (8.0 s to 20 s)",
        ),
        (
            {"outlook": [{"kind": "sink", "name": "s", "standing_queue": True, "min_sojourn_s": 0.2}]},
            "warn", "sink s has a standing queue of 200 ms",
        ),
    ],
)  # fmt: skip
def test_each_fault_is_the_first_part(change: dict[str, Any], level: str, words: str, status: Make) -> None:
    found = said(status(lambda made: made.update(change)))
    assert (found.level, found.parts[0]) == (level, words)


def test_the_worst_fault_comes_first(status: Make) -> None:
    def change(made: Any) -> None:
        made["sinks"][0] |= {"state": "retrying", "reason": "disk full", "retrying_for_s": 9.0}
        made |= {"ready": False, "reasons": ["no"]}

    assert said(status(change)).parts[:2] == ["not ready: no", "sink store retries for 9.0 s: disk full"]
    found = said(status(lambda made: made.update(phase="draining", imbalances=["x"])))
    assert (found.level, found.parts[:2]) == ("bad", ["the books do not balance: x", "draining"])


@pytest.mark.parametrize(
    ("band", "words"),
    [
        (None, "will soon be full"),
        (FullInStatus(0, 0, 0), "is full"),
        (FullInStatus(8, 12, None), "will be full in 12 s (8.0 s perhaps never)"),
    ],
)
def test_the_time_until_a_buffer_is_full(band: FullInStatus | None, words: str) -> None:
    assert full_in(band) == words
