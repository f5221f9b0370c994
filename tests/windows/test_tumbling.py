from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.core.timestamp import canonical
from streamd.steps.window import Window
from streamd.windows import options as window_options
from streamd.windows.panes import Panes
from streamd.windows.tumbling import Tumbling

quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
NOW = Now(2_000.0, 5.0)
PLAIN = {
    "n": "count()",
    "valued": "count(v)",
    "sum": "sum(v)",
    "mean": "mean(v)",
    "min": "min(v)",
    "max": "max(v)",
}
ROWS = st.lists(
    st.fixed_dictionaries({
        "k": st.sampled_from(["a", "b", "é", "x" * 120, "x" * 130, 7, None]),
        "t": st.integers(-100, 400) | st.just("then") | st.just(9_000),
        "v": st.none() | st.integers(-5, 50) | st.floats(-1e3, 1e3) | st.just("7"),
    }),
    max_size=120,
)  # fmt: skip


def new(**options: Any) -> Window:
    options = {
        "size": "20s",
        "key": ["k"],
        "time": "t",
        "watermark_delay": "5s",
        "idle_timeout": "30s",
        "aggregate": PLAIN,
    } | options
    step = Window(Window.Config(**options), StepContext("window", "p", None, Path()))
    step.open()
    return step


def run(step: Window, rows: list[dict[str, Any]], cuts: list[int]) -> Any:
    made, rejected, at = [], [], 0
    for size in [*cuts, len(rows)]:
        done = step.process([dict(row) for row in rows[at : at + size]], NOW)
        at += size
        made += done.records
        rejected += [(bad.record, bad.reason, bad.detail) for bad in done.rejects]
    return made + step.tick(Now(3000.0, NOW.mono_s + 30)).records, rejected


@quick
@given(
    rows=ROWS,
    cuts=st.lists(st.integers(1, 50), max_size=4),
    texts=st.booleans(),
    delay=st.sampled_from(["0s", "5s", "50s"]),
)
def test_the_short_ways_change_no_row_and_no_reject(
    rows: list[dict[str, Any]], cuts: list[int], texts: bool, delay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if texts:
        rows = [row | {"t": canonical(row["t"]) if row["t"] != "then" else "then"} for row in rows]
    step = new(watermark_delay=delay)
    assert type(step._windows.kind) is Tumbling
    made = run(step, rows, cuts)
    # The long way: general panes, aggregates with a state each, and one record at a time.
    with monkeypatch.context() as patch:
        patch.setattr(window_options, "Tumbling", Panes)
        long = new(watermark_delay=delay, aggregate=PLAIN | {"last": "last(v)"})
    assert type(long._windows.kind) is Panes
    wanted = run(long, rows, [1] * len(rows))
    for record in wanted[0]:
        record.pop("last")
    assert made == wanted


def test_the_fault_of_the_key_is_named_first_also_if_others_are_found_before() -> None:
    done = new().process([{"k": "x" * 200, "t": "then", "v": "7"}, {"k": "x" * 200, "t": 5, "v": 1}], NOW)
    assert [bad.reason for bad in done.rejects] == ["key:long", "key:long"]


def test_a_range_of_all_keys_is_not_wider_than_a_time_of_its_form() -> None:
    kind = new()._windows.kind
    (short, micro, seconds) = (kind.whole(0.0, 19.0, 2), kind.whole(0, 19, 1), kind.whole(0.0, 20.0, 2))
    assert short is not None
    assert micro is short
    assert seconds is None
    # The same time, in a form in which a later one may be rounded up to the end of the window.
    assert kind.whole(0, 19_999_999, 1) is short
    assert kind.whole(0.0, 19.999999, 2) is None


def test_a_record_is_late_if_the_watermark_is_at_the_end_of_its_window() -> None:
    rows = [{"k": "a", "t": at, "v": 1} for at in (5, 25, 19, 20)]
    step = new()
    done = step.process(rows, NOW)
    assert [bad.record["t"] for bad in done.rejects] == [19]
    assert [(record["window_start"][17:19], record["n"]) for record in done.records] == [("00", 1)]
