"""The memory of the windows of many keys stays within what the docs say."""

import gc
import tracemalloc
from pathlib import Path

from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.steps.window import Window
from streamd.windows.aggregates import CHUNK

KEYS = 100_000
NOW = Now(0.0, 0.0)
AGGREGATES = {"n": "count()", "mean": "mean(v)", "min": "min(v)", "max": "max(v)"}


def test_a_key_with_a_window_takes_at_most_a_stated_number_of_bytes_and_the_others_are_counted() -> None:
    config = Window.Config(
        size="1m", key=["k"], time="t", watermark_delay="1m", max_keys=KEYS, aggregate=AGGREGATES
    )
    step = Window(config, StepContext("window[0]", "p", None, Path()))
    step.open()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for start in range(0, KEYS + 1000, 1000):
            records = [{"k": f"sensor {n}", "t": 5.0, "v": n * 1.5} for n in range(start, start + 1000)]
            assert step.process(records, NOW).absorbed == 1000
            del records
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert step.context.counters["overflow", ""] == 1000
    per_key = (used - before) / KEYS
    assert 300 < per_key < 1024, per_key


def test_the_rows_that_wait_to_be_folded_are_bounded() -> None:
    config = Window.Config(size="1h", key=["k"], time="t", watermark_delay="1m", aggregate=AGGREGATES)
    step = Window(config, StepContext("window[0]", "p", None, Path()))
    step.open()
    records = [{"k": "a", "t": 5.0, "v": float(n)} for n in range(1000)]
    for _ in range(400):
        step.process(records, NOW)
    step._windows.fold()
    ((_, keyed),) = step._windows.keys.items()
    (bucket,) = keyed.buckets.values()
    assert len(bucket.rows) < CHUNK
    assert bucket.count + len(bucket.rows) == 400_000
    (record,) = step.tick(Now(3700.0, 3700.0)).records
    assert (record["n"], record["mean"], record["max"]) == (400_000, 499.5, 999.0)
