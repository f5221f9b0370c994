"""What a test does to a configuration: one clock for everything, restarts, reloads, and all fates counted."""

import random
import time
from collections.abc import Callable

import pytest

from streamd.config import load
from streamd.core.errors import ConfigError
from streamd.testing import files, report
from streamd.testing.run import run
from tests.testing.conftest import Suite


def case(inputs: str, expect: str = "", name: str = "one") -> str:
    return f'[[tests]]\nname = "{name}"\ninputs = [\n{inputs}\n]\n{expect}\n'


def counted(n: int, at: str, more: str = "") -> str:
    row = f"{{ n = {n}, at = {at}, seen = {more or n} }}"
    return f'[tests.expect.sinks.counts]\nignore = ["dice"]\nrows = [{row}]'


START = 1767225600
ONE = """{ source = "floor", text = '{"v":1}' },"""
LOG = """{ source = "log", text = '{"v":1}' },"""


def test_time_passes_only_as_the_test_says_and_python_sees_it(
    suite: Suite, counting: Callable[..., str]
) -> None:
    suite.passes(case(ONE + '{ advance = "30s" }', counted(1, f"{START + 30}.0")), counting())
    suite.passes(case(ONE + '{ at = "2026-01-01T00:00:31Z" }', counted(1, f"{START + 30}.0")), counting())
    suite.passes(case(ONE + '{ advance = "29s" }', "[tests.expect]\nfiltered = 0"), counting())
    suite.passes(case(ONE + '{ until = "drain" }', counted(1, f"{START + 30}.0")), counting())


def test_the_clock_of_the_process_is_real_again(suite: Suite, counting: Callable[..., str]) -> None:
    before = time.time(), time.monotonic()
    suite.passes(case(ONE + '{ advance = "1d" }', counted(1, f"{START + 30}.0")), counting())
    assert 0 <= time.time() - before[0] < 60
    assert 0 <= time.monotonic() - before[1] < 60


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_a_step_in_a_thread_runs_inline_and_gives_the_same(
    executor: str, suite: Suite, counting: Callable[..., str]
) -> None:
    config = counting(f', executor = "{executor}"')
    suite.passes(case(ONE * 3 + '{ advance = "30s" }', counted(3, f"{START + 30}.0")), config)


def test_a_step_in_worker_processes_runs_inline(suite: Suite) -> None:
    (suite.folder / "steps.py").write_text("import os\ndef step(record):\n    return {'pid': os.getpid()}\n")
    steps = '{ type = "python", function = "steps.py:step", executor = "process", timeout = "2s" },'
    config = suite.config.replace("steps = [", f"steps = [ {steps}").replace("sensor != 'test'", "True")
    config = config.replace('extra = "reject"', 'extra = "drop"').replace("value > 20.0", "True")
    (result,) = suite.run(case(ONE, "[tests.expect.sinks.readings]\ncount = 1"), config)
    assert result.outcome is not None
    assert result.outcome.sinks["readings"].count == 1


def test_each_test_begins_anew(suite: Suite, counting: Callable[..., str]) -> None:
    """Modules are imported again, and the seed is the same."""
    one = case(ONE + '{ advance = "30s" }', counted(1, f"{START + 30}.0"), "first")
    state = random.getstate()
    first, second = suite.run(one + one.replace("first", "second"), counting())
    assert random.getstate() == state
    assert first.passed
    assert second.passed
    assert first.outcome is not None
    assert second.outcome is not None
    assert first.outcome.sinks == second.outcome.sinks, "also the dice"


def test_a_clean_restart_keeps_the_state_and_the_timer(suite: Suite, counting: Callable[..., str]) -> None:
    inputs = LOG * 2 + '{ advance = "10s" }, { restart = true },' + LOG + '{ advance = "60s" }'
    suite.passes(case(inputs, counted(3, f"{START + 30}.0", "1")), counting())


def test_a_step_that_stores_monotonic_times_is_found_out(suite: Suite, counting: Callable[..., str]) -> None:
    """After a restart the monotonic clock may be lower, as after a reboot."""
    config = counting()
    path = suite.folder / "count.py"
    path.write_text(
        path.read_text().replace(" - time.monotonic()", "").replace("time.monotonic() + left_s", "left_s")
    )
    inputs = ONE + '{ advance = "10s" }, { restart = true }, { advance = "60s" }'
    assert "row 1 is missing" in suite.fails(case(inputs, counted(1, f"{START + 30}.0")), config)


def test_after_a_kill_a_file_is_read_again_from_the_stored_state(
    suite: Suite, counting: Callable[..., str]
) -> None:
    inputs = LOG * 2 + '{ advance = "6s" },' + LOG * 3 + '{ restart = "kill" },' + LOG + '{ advance = "60s" }'
    suite.passes(case(inputs, counted(6, f"{START + 31}.0", "4")), counting())


def test_after_a_kill_other_sources_have_lost_what_was_not_stored(
    suite: Suite, counting: Callable[..., str]
) -> None:
    inputs = ONE * 2 + '{ advance = "6s" },' + ONE * 3 + '{ restart = "kill" },' + ONE + '{ advance = "60s" }'
    suite.passes(case(inputs, counted(3, f"{START + 31}.0", "1")), counting())


def test_a_line_that_a_restart_divides_is_read_whole(suite: Suite, counting: Callable[..., str]) -> None:
    half, rest = '{ source = "log", hex = "7b2276223a" },', '{ source = "log", hex = "317d0a" },'
    for restart in ("true", '"kill"'):
        inputs = half + f"{{ restart = {restart} }}," + rest + '{ advance = "60s" }'
        suite.passes(case(inputs, counted(1, f"{START + 30}.0")), counting())


def test_bytes_at_the_end_of_a_file_have_no_fate(suite: Suite, counting: Callable[..., str]) -> None:
    failed = suite.fails(
        case('{ source = "log", hex = "7b2276223a" }', "[tests.expect]\nfiltered = 0"), counting()
    )
    assert "source log: 5 bytes at the end of the file are no whole frame" in failed


CSV = """
[sources.log]
type = "file"
path = "plant.csv"
codec = "csv"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:1"
codec = "csv"
[pipelines.main]
sources = ["log", "floor"]
sinks = ["all"]
[sinks.all]
type = "sqlite"
"""


def rows(*texts: str) -> str:
    return f"[tests.expect.sinks.all]\nrows = [{', '.join(texts)}]"


def test_a_header_of_a_file_stays_known_over_restarts(suite: Suite) -> None:
    for restart in ("true", '"kill"'):
        inputs = f"""
          {{ source = "log", text = "a,b\\n1,2" }},
          {{ advance = "6s" }},
          {{ restart = {restart} }},
          {{ source = "log", text = "3,4" }},
        """
        suite.passes(case(inputs, rows('{ a = "1", b = "2" }', '{ a = "3", b = "4" }')), CSV)


def test_inputs_of_one_peer_are_one_connection(suite: Suite) -> None:
    inputs = """
      { source = "floor", text = "a,b\\n1,2" },
      { source = "floor", text = "3,4" },
      { source = "floor", peer = "192.0.2.7:1", text = "c" },
      { source = "floor", peer = "192.0.2.7:1", text = "5" },
      { source = "floor", close = true },
      { source = "floor", text = "d" },
      { source = "floor", text = "6" },
    """
    expected = '{ a = "1", b = "2" }', '{ a = "3", b = "4" }', '{ c = "5" }', '{ d = "6" }'
    suite.passes(case(inputs, rows(*expected)), CSV)


def test_a_connection_ends_with_the_test_and_gives_its_last_frame(suite: Suite) -> None:
    text = '{"sensor":"a","value":1.0}'
    for more in ("", '{ source = "floor", close = true },', "{ restart = true },"):
        inputs = f'{{ source = "floor", hex = "{text.encode().hex()}" }},' + more
        expect = """[tests.expect.counters]
"sources.floor.unterminated" = 1
[tests.expect.sinks.readings]
rows = [{ sensor = "a", value = 1.0, warm = false }]
"""
        suite.passes(case(inputs, expect))


def test_content_may_be_text_hex_base64_a_file_or_records(suite: Suite) -> None:
    (suite.folder / "sample.json").write_bytes(b'{"sensor":"d","value":4.0}')
    inputs = """
      { source = "lab", text = '{"sensor":"a","value":1.0}' },
      { source = "lab", hex = "7b22 73656e736f72223a2262222c2276616c7565223a322e307d" },
      { source = "lab", base64 = "eyJzZW5zb3IiOiJjIiwidmFsdWUiOjMuMH0=" },
      { source = "lab", file = "sample.json" },
      { source = "lab", records = [{ sensor = "e", value = 5 }] },
    """
    expected = ", ".join(
        f'{{ sensor = "{sensor}", value = {value}.0, warm = false }}'
        for value, sensor in enumerate("abcde", 1)
    )
    suite.passes(case(inputs, f"[tests.expect.sinks.readings]\nrows = [{expected}]"))


def test_a_broken_framing_ends_the_connection_and_is_counted(suite: Suite) -> None:
    config = suite.config.replace(
        '[sources.floor]\ntype = "tcp"', '[sources.floor]\nframing = "octet_counting"\ntype = "tcp"'
    )
    inputs = """
      { source = "floor", text = 'x' },
      { source = "floor", text = '26 {"sensor":"a","value":1.0}' },
    """
    expect = """[tests.expect.counters]
"sources.floor.framing_errors" = 1
[tests.expect.sinks.readings]
rows = [{ sensor = "a", value = 1.0, warm = false }]
"""
    suite.passes(case(inputs, expect), config)


def test_frames_lost_by_a_limit_are_dropped_and_have_to_be_expected(suite: Suite) -> None:
    config = suite.config.replace(
        '[sources.floor]\ntype = "tcp"',
        '[sources.floor]\nmax_frame = "1KiB"\noversize = "drop"\ntype = "tcp"',
    )
    inputs = f"{{ source = 'floor', text = '{'x' * 2000}' }}"
    assert "oversize  expected  0" in suite.fails(case(inputs, "[tests.expect]\nfiltered = 0"), config)
    suite.passes(case(inputs, "[tests.expect]\ndropped = { oversize = 1 }"), config)


def test_a_reload_keeps_the_state_and_applies_the_change(suite: Suite, counting: Callable[..., str]) -> None:
    (suite.folder / "next.toml").write_text(
        counting().replace('"counts.ndjson"', '"other.ndjson"').replace('["counts"]', '["counts", "copy"]')
        + '[sinks.copy]\ntype = "stdout"\n'
    )
    inputs = ONE * 2 + '{ advance = "10s" }, { reload = "next.toml" },' + ONE + '{ advance = "60s" }'
    expect = counted(3, f"{START + 30}.0")
    suite.passes(
        case(inputs, expect + expect.replace("[tests", "\n[tests").replace("counts", "copy")), counting()
    )


def test_a_refused_reload_is_a_fault_of_the_test(suite: Suite, counting: Callable[..., str]) -> None:
    (suite.folder / "next.toml").write_text(counting() + '[admin]\nlisten = "none"\n')
    failed = suite.fails(case(ONE + '{ reload = "next.toml" }', "[tests.expect]\nfiltered = 0"), counting())
    assert "tests[0].inputs[1]: [admin] cannot be changed while streamd runs" in failed


ALWAYS = """
class Beat:
    at = 0
    def __call__(self, record):
        return record
    def next_deadline(self):
        return self.at
    def tick(self, now):
        self.at = now.mono_s + 1
"""


def test_a_drain_without_end_is_a_fault(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamd.testing.rig.MOST_TIMERS", 50)
    (suite.folder / "steps.py").write_text(ALWAYS)
    config = suite.config.replace("steps = [", 'steps = [ { type = "python", function = "steps.py:Beat" },')
    failed = suite.fails(case('{ until = "drain" }', "[tests.expect]\nfiltered = 0"), config)
    assert 'until = "drain": after 50 timers there is always another one' in failed
    suite.passes(case('{ advance = "40s" }', "[tests.expect]\nfiltered = 0"), config)
    assert "after 50 timers, time still stands" in suite.fails(
        case('{ advance = "2m" }', "[tests.expect]\nfiltered = 0"), config
    )


def test_a_step_that_cannot_be_opened_is_a_fault_and_the_next_test_runs(suite: Suite) -> None:
    (suite.folder / "steps.py").write_text(
        "class Step:\n"
        "    def __init__(self):\n        raise OSError('no model')\n"
        "    def __call__(self, record):\n        return record\n"
    )
    config = suite.config.replace("steps = [", 'steps = [ { type = "python", function = "steps.py:Step" },')
    expect = "[tests.expect]\nfiltered = 0"
    results = suite.run(case(ONE, expect, "first") + case(ONE, expect, "second"), config)
    assert ["no model" in result.fault for result in results] == [True, True]


def test_a_configuration_that_a_component_refuses_is_no_failed_test(suite: Suite) -> None:
    suite.write(
        case(ONE, "[tests.expect]\nfiltered = 0"), suite.config.replace("value > 20.0", "valu > 20.0")
    )
    suite.path.write_text(
        suite.path.read_text().replace('sources = ["lab", "floor", "log"]', 'sources = ["lab"]')
    )
    text = suite.path.read_text()
    for name in ("floor", "log"):
        begin = text.index(f"[sources.{name}]")
        text = text[:begin] + text[text.index("[", begin + 1) :]
    suite.path.write_text(text.replace('"floor"', '"lab"'))
    loaded = load(suite.path)
    with pytest.raises(ConfigError, match=r"steps\[1\]: fields\.warm: there is no field 'valu'"):
        list(run(loaded, files.find(loaded)))


def test_nothing_of_the_user_is_touched(suite: Suite) -> None:
    """The database of the sink is in a folder that does not exist, and the port belongs to nobody."""
    before = sorted(path.name for path in suite.folder.iterdir())
    suite.passes(case(ONE.replace('"v"', '"sensor":"a","value"'), "[tests.expect.sinks.readings]\ncount = 1"))
    assert sorted(path.name for path in suite.folder.iterdir()) == sorted([*before, "plant.toml"])


def test_twenty_tests_take_little_cpu(suite: Suite) -> None:
    line = ONE.replace('"v"', '"sensor":"a","value"')
    expect = "[tests.expect.sinks.readings]\ncount = 1"
    began_s = time.process_time()
    results = suite.run("".join(case(line, expect, f"test {n}") for n in range(20)))
    assert time.process_time() - began_s < 20
    assert all(result.passed and result.seconds > 0 for result in results), "\n".join(
        report.lines(results[0])
    )
