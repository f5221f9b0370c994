import asyncio
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import streamd
from streamd.core.ack import Ack, Status
from streamd.core.contracts import DROP, Processed, Step
from streamd.core.errors import BadData, ConfigError
from streamd.core.hold import Holding, HoldScope
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test loads is gone after it."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if name.startswith(("streamd_step_", "house", "beside")):
            del sys.modules[name]


@pytest.fixture
def step_of(new_step: NewStep, tmp_path: Path) -> Callable[..., Step[Any]]:
    """A step that calls the function `step`, or another, of this source text."""

    def make(source: str, mode: str = "record", name: str = "step") -> Step[Any]:
        (tmp_path / "steps.py").write_text(textwrap.dedent(source))
        return new_step("python", function=f"steps.py:{name}", mode=mode)

    return make


def test_a_function_returns_a_record_several_or_none_at_all(
    step_of: Callable[..., Step[Any]], now: Now
) -> None:
    step = step_of("""
        import streamd

        def step(record):
            match record["kind"]:
                case "drop":
                    return streamd.DROP
                case "reject":
                    raise streamd.Reject("no such kind")
                case "nothing":
                    return []
                case "twice":
                    return [record, {"n": 2}]
            record["seen"] = True
            return record
    """)
    kinds = ["plain", "drop", "reject", "twice", "nothing"]
    done = step.process([{"kind": kind} for kind in kinds], now)
    assert done.records == [{"kind": "plain", "seen": True}, {"kind": "twice"}, {"n": 2}]
    assert (done.filtered, done.emitted) == (2, 1)
    (reject,) = done.rejects
    assert (reject.record, reject.reason, reject.detail) == ({"kind": "reject"}, "rejected", "no such kind")
    assert reject.error is None  # a verdict of the user's, not a fault to log


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        ("record['x']", "exception", "KeyError: 'x'"),
        ("return None", "no_result", "the function returned None: was `return` forgotten?"),
        ("record['x'] = 1", "no_result", "the function returned None: was `return` forgotten?"),
        ("return 5", "bad_result", "the function returned int, not a dict"),
        ("return (record,)", "bad_result", "the function returned tuple, not a dict"),
        ("return [record, 'x']", "bad_result", "the function returned str, not a dict"),
        ("return [record, None]", "no_result", "the function returned None: was `return` forgotten?"),
        ("return {1: 2}", "bad_result", "the key 1 of the record is an int, not text"),
        ("return [{None: 2}]", "bad_result", "the key None of the record is a NoneType, not text"),
        ("raise SystemExit(3)", "exception", "SystemExit: 3"),
        ("raise GeneratorExit", "exception", "GeneratorExit: "),
        ("import asyncio; raise asyncio.CancelledError", "exception", "CancelledError: "),
        ("def again(): again()\n    again()", "exception", "RecursionError: maximum recursion depth"),
        ("raise ValueError('\\ud800' + 'x' * 5000)", "exception", "ValueError: \\ud800" + "x" * 700),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", "exception",
         "Odd: (its text cannot be read)"),
        ("from streamd.core.errors import BadData; raise BadData('my:1', 'why')", "rejected", "my:1: why"),
        ("import streamd; raise streamd.Reject('')", "rejected", "rejected"),
        ("import streamd; raise streamd.Reject(5)", "rejected", "5"),
    ],
)  # fmt: skip
def test_what_a_function_does_wrong_costs_its_record_and_nothing_else(
    new_step: NewStep, tmp_path: Path, now: Now, body: str, reason: str, detail: str
) -> None:
    (tmp_path / "steps.py").write_text(
        f"def step(record):\n  if record['bad']:\n    {body}\n  else:\n    return record\n"
    )
    step = new_step("python", function="steps.py:step")
    done = step.process([{"bad": False}, {"bad": True}, {"bad": False}], now)
    assert done.records == [{"bad": False}, {"bad": False}]
    (reject,) = done.rejects
    assert (reject.record, reject.reason) == ({"bad": True}, reason)
    assert reject.detail.startswith(detail)
    assert len(reject.detail) < 1100
    assert (reject.error is not None) == (reason == "exception")
    with pytest.raises(BadData, match=reason):
        step.process_one({"bad": True}, now)


def test_what_is_rejected_is_the_record_as_it_came(step_of: Callable[..., Step[Any]], now: Now) -> None:
    step = step_of("""
        def step(record):
            record["half"] = "done"
            del record["value"]
            1 / 0
    """)
    (reject,) = step.process([{"value": 1}], now).rejects
    assert reject.record == {"value": 1}


@pytest.mark.parametrize("mode", ["record", "batch"])
@pytest.mark.parametrize(
    "raised", ["KeyboardInterrupt", "SystemExit", "GeneratorExit", "MemoryError", "Evil"]
)
def test_whatever_is_raised_costs_the_record_and_nothing_else(
    step_of: Callable[..., Step[Any]], now: Now, mode: str, raised: str
) -> None:
    source = f"""
        class Evil(Exception):
            @property
            def __class__(self):
                raise SystemExit

        def step(record):
            raise {raised}
    """
    (reject,) = step_of(source, mode).process([{"a": 1}], now).rejects
    assert (reject.record, reject.reason) == ({"a": 1}, "exception")


@pytest.mark.parametrize(
    ("body", "records", "filtered", "emitted", "reason"),
    [
        ("return records", 3, 0, 0, None),
        ("return records[:1]", 1, 2, 0, None),
        ("return []", 0, 3, 0, None),
        ("return records + [{'sum': 6}]", 4, 0, 1, None),
        ("records.clear(); return records", 0, 3, 0, None),
        ("return None", 0, 0, 0, "no_result"),
        ("return iter(records)", 0, 0, 0, "bad_result"),
        ("return records + [5]", 0, 0, 0, "bad_result"),
        ("return [{1: 2}]", 0, 0, 0, "bad_result"),
        ("records.clear(); 1 / 0", 0, 0, 0, "exception"),
        ("import streamd; raise streamd.Reject('all of them')", 0, 0, 0, "rejected"),
    ],
)
def test_a_batch_is_taken_or_rejected_as_a_whole(
    step_of: Callable[..., Step[Any]],
    now: Now,
    body: str,
    records: int,
    filtered: int,
    emitted: int,
    reason: str | None,
) -> None:
    given_records: list[dict[str, Any]] = [{"n": 1}, {"n": 2}, {"n": 3}]
    done = step_of(f"def step(records):\n    {body}", "batch").process(given_records, now)
    assert (len(done.records), done.filtered, done.emitted) == (records, filtered, emitted)
    assert [bad.reason for bad in done.rejects] == ([] if reason is None else [reason] * 3)
    assert [bad.record for bad in done.rejects] == ([] if reason is None else given_records)


def test_one_record_of_a_batch_function(step_of: Callable[..., Step[Any]], now: Now) -> None:
    step = step_of("def step(records):\n    return records * records[0]['times']", "batch")
    assert step.process_one({"times": 1}, now) == {"times": 1}
    assert step.process_one({"times": 2}, now) == [{"times": 2}, {"times": 2}]
    assert step.process_one({"times": 0}, now) is DROP


@pytest.mark.parametrize(
    ("mode", "body"),
    [
        ("record", "return [record, record, kept, kept]"),
        ("batch", "return records + records + [kept, kept]"),
        ("record", "kept['n'] = record['n']; return kept"),
        ("record", "kept['n'] = record['n']; return [kept]"),
        ("batch", "kept['n'] = records[0]['n']; return [kept, records[1]]"),
        ("record", "old = dict(kept); kept.update(record); return old or kept"),
        ("record", "seen.append(record); return seen[0]"),
        ("batch", "seen.extend(records); return seen[:2]"),
    ],
)
def test_no_two_records_that_come_out_are_the_same_object(
    step_of: Callable[..., Step[Any]], now: Now, mode: str, body: str
) -> None:
    name = "records" if mode == "batch" else "record"
    step = step_of(f"kept = {{}}\nseen = []\ndef step({name}):\n    {body}", mode)
    made = []
    as_returned: list[Any] = []
    for n in range(3):
        made += step.process([{"n": n}, {"n": n + 10}], now).records
        as_returned += [record.copy() for record in made[len(as_returned) :]]
    assert len(set(map(id, made))) == len(made) > 3
    assert made == as_returned


RESULTS = st.sampled_from(
    ["same", None, 5, "text", [], [{}], [{}, {}, {}], [{}, None], {1: 1}, {"a": 1}, DROP, [DROP], ValueError,
     SystemExit, streamd.Reject("no"), asyncio.CancelledError, object()]
)  # fmt: skip


@given(results=st.lists(RESULTS, max_size=8))
@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)  # nothing is kept
def test_whatever_functions_do_the_sum_is_exact(
    step_of: Callable[..., Step[Any]],
    now: Now,
    assert_exact: Callable[[int, Processed], None],
    results: list[Any],
) -> None:
    each = step_of("def step(record):\n    return record['do'](record)")
    batch = step_of("def step(records):\n    return records[0]['do'](records)", "batch")

    def do(result: Any) -> Callable[[Any], Any]:
        def act(given_to: Any) -> Any:
            if result == "same":
                return given_to
            if isinstance(result, Exception):
                raise result
            if inspect.isclass(result) and issubclass(result, BaseException):
                raise result
            return result

        return act

    records = [{"do": do(result)} for result in results]
    assert_exact(len(records), each.process(records, now))
    if records:
        assert_exact(len(records), batch.process(records, now))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "cannot read {file}: No such file or directory"),
        ("def step(record:\n", "{file}:1: SyntaxError: "),
        ("x = 1\n1 / 0\n", "{file}:2: ZeroDivisionError: division by zero"),
        ("\nimport no_such_module_anywhere\n", "{file}:2: ModuleNotFoundError: No module named"),
        ("raise SystemExit(2)", "{file}:1: SystemExit: 2"),
        ("x = '\x00'", "SyntaxError"),
        ("def stp(record): ...", "there is no function or class 'step' in {file}: did you mean 'stp'?"),
        ("", "there is no function or class 'step' in {file}"),
        ("step = 5", "{file}: 'step' is not a function or class but int"),
        ("class step: ...", "{file}:1: 'step' is a class without __call__(self, record)"),
        ("\ndef step(): ...", "{file}:2: 'step' takes (), but is called with one argument"),
        ("def step(a, b): ...", "{file}:1: 'step' takes (a, b), but is called with one argument"),
        ("def step(*, a): ...", "{file}:1: 'step' takes (*, a), but"),
        ("async def step(record): yield 1", "{file}:1: 'step' is a generator: return a list"),
        ("def step(record): yield record", "{file}:1: 'step' is a generator: return a list"),
    ],
)
def test_what_cannot_be_loaded_is_a_configuration_error_with_its_place(
    new_step: NewStep, tmp_path: Path, source: str | None, message: str
) -> None:
    file = tmp_path / "steps.py"
    if source is not None:
        file.write_text(source)
    with pytest.raises(ConfigError) as refused:
        new_step("python", function="steps.py:step")
    assert message.format(file=file) in str(refused.value)


@pytest.mark.parametrize(
    "source",
    [
        "def step(a, b=1): ...",
        "def step(*args): ...",
        "step = max",
        "import functools\nstep = functools.partial(max, 1)",
    ],
)
def test_what_can_be_called_with_one_argument_is_accepted(
    step_of: Callable[..., Step[Any]], source: str
) -> None:
    assert step_of(source).fields_after() is None


@pytest.mark.parametrize(
    "function", ["steps", "steps.py", ":step", "steps.py:", "a-b:step", "steps.py:a.b", "steps.py:a b"]
)
def test_a_function_that_is_not_named_rightly_is_refused(new_step: NewStep, function: str) -> None:
    with pytest.raises(ValidationError) as refused:
        new_step("python", function=function)
    assert refused.value.errors()[0]["loc"] == ("function",)


def test_files_of_one_name_are_two_modules_and_a_file_named_twice_is_one(
    new_step: NewStep, tmp_path: Path, now: Now
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "steps.py").write_text(
            f"seen = []\ndef step(record):\n    seen.append(1)\n    return {{{folder!r}: len(seen)}}\n"
        )
    first, second, again = (
        new_step("python", function=f"{place}/steps.py:step") for place in ("a", "b", "a")
    )
    made = [step.process([{}], now).records[0] for step in (first, second, again)]
    assert made == [{"a": 1}, {"b": 1}, {"a": 2}]


def test_a_changed_file_is_another_module(step_of: Callable[..., Step[Any]], now: Now) -> None:
    old = step_of("def step(record):\n    return {'v': 1}")
    new = step_of("def step(record):\n    return {'v': 2}")
    assert old.process([{}], now).records == [{"v": 1}]
    assert new.process([{}], now).records == [{"v": 2}]


def test_a_file_that_failed_is_run_again(step_of: Callable[..., Step[Any]], tmp_path: Path, now: Now) -> None:
    source = "import beside\ndef step(record):\n    return {'v': beside.factor}"
    with pytest.raises(ConfigError, match="No module named 'beside'"):
        step_of(source)
    (tmp_path / "beside.py").write_text("factor = 3")
    importlib.invalidate_caches()
    assert step_of(source).process([{}], now).records == [{"v": 3}]


def test_a_file_can_import_its_neighbours_and_they_hide_nothing(
    new_step: NewStep, tmp_path: Path, now: Now
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "beside.py").write_text("factor = 3")
    (tmp_path / "lib" / "wave.py").write_text("raise AssertionError('this is not the standard library')")
    (tmp_path / "lib" / "steps.py").write_text(
        "import beside\nimport wave\nfrom dataclasses import dataclass\n\n"
        "@dataclass\nclass Scale:\n    by: int\n\n"
        "def step(record):\n    return {'v': Scale(beside.factor).by}\n"
    )
    step = new_step("python", function="lib/steps.py:step")
    assert step.process([{}], now).records == [{"v": 3}]


def test_a_function_of_a_package_beside_the_configuration(
    new_step: NewStep, tmp_path: Path, now: Now
) -> None:
    (tmp_path / "house" / "rooms").mkdir(parents=True)
    (tmp_path / "house" / "rooms" / "lab.py").write_text(
        "def step(record):\n    return record | {'room': 'lab'}\n"
    )
    step = new_step("python", function="house.rooms.lab:step")
    assert step.process([{}], now).records == [{"room": "lab"}]
    with pytest.raises(ConfigError, match=r"ModuleNotFoundError: No module named 'house\.rooms\.attic'"):
        new_step("python", function="house.rooms.attic:step")


CLOCK = """
    class Sums:
        def __init__(self):
            self.kept = []
        def __call__(self, record):
            if record["x"] < 0:
                return record
            self.kept.append(record["x"])
            return []
        def next_deadline(self):
            return 5.0 if self.kept else None
        def tick(self, now):
            kept, self.kept = self.kept, []
            return {"sum": sum(kept), "at": now.mono_s} if kept else None
"""


def test_a_class_with_a_clock_keeps_records_and_hands_on_others(
    step_of: Callable[..., Step[Any]], now: Now, assert_exact: Callable[[int, Processed], None]
) -> None:
    step = step_of(CLOCK, name="Sums")
    step.open()
    assert (step.is_timed, step.is_stateful, step.next_deadline()) == (True, False, None)
    told: list[Status] = []
    with HoldScope(Holding(), Ack(told.append)):
        done = step.process([{"x": 1}, {"x": -1}, {"x": 2}], now)
    assert (done.records, done.absorbed, done.filtered) == ([{"x": -1}], 2, 0)
    assert_exact(3, done)
    assert step.next_deadline() == 5.0
    ticked = step.tick(now)
    assert (ticked.records, len(ticked.holds)) == ([{"sum": 3, "at": now.mono_s}], 1)
    assert (step.tick(now).records, list(step.tick(now).holds)) == ([], [])


def test_a_class_with_snapshots_goes_on_from_one(step_of: Callable[..., Step[Any]], now: Now) -> None:
    source = (
        CLOCK
        + """
        state_version = 7
        def snapshot(self):
            return repr(self.kept).encode()
        def restore(self, state):
            self.kept = eval(state)
    """
    )
    step = step_of(source, name="Sums")
    step.open()
    assert (step.is_stateful, step.state_version) == (True, 7)
    step.process([{"x": 1}, {"x": 2}], now)
    state = step.snapshot()
    other = step_of(source, name="Sums")
    other.open()
    assert state is not None
    other.restore(state, now)
    assert other.tick(now).records == [{"sum": 3, "at": now.mono_s}]


@pytest.mark.parametrize(
    ("methods", "why"),
    [
        ("def tick(self, now): pass", "class Sums: tick needs next_deadline"),
        ("def next_deadline(self): pass", "class Sums: next_deadline needs tick"),
        ("def snapshot(self): pass", "class Sums: snapshot needs restore"),
        ("def restore(self, state): pass", "class Sums: restore needs snapshot"),
        (
            "def snapshot(self): pass\n        async def restore(self, state): pass",
            "class Sums: restore must not be async",
        ),
    ],
)
def test_a_class_whose_clock_or_state_is_incomplete_is_refused(
    step_of: Callable[..., Step[Any]], methods: str, why: str
) -> None:
    source = f"""
    class Sums:
        def __call__(self, record):
            return record
        {methods}
    """
    with pytest.raises(ConfigError, match=why):
        step_of(source, name="Sums")
