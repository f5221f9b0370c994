"""What several processes cannot share is refused with the place and the reason."""

from pathlib import Path

import pytest

from streamd import components, registry
from streamd.config import load
from streamd.core.shared import Shared
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.processes.refusals import refusals
from streamd.processes.share import share_of
from streamd.sqlite.databases import Databases

BASE = """
[daemon]
processes = {processes}
[sources.floor]
type = "tcp"
listen = "127.0.0.1:9000"
[sources.made]
type = "generate"
[pipelines.main]
sources = ["{source}"]
sinks = ["{sink}"]
steps = [{step}]
[pipelines.other]
sources = ["{other}"]
sinks = ["rows"]
[sinks.rows]
type = "sqlite"
[sinks.kept]
type = "file"
path = "kept.jsonl"
[sinks.daily]
type = "sqlite"
path = "daily-%Y-%m-%d.db"
"""


def problems(tmp_path: Path, **given: str) -> list[str]:
    named = {"processes": "2", "source": "floor", "other": "made", "sink": "rows", "step": "", **given}
    path = tmp_path / "streamd.toml"
    path.write_text(BASE.format(**named))
    loaded = load(path)
    databases = Databases()
    letters = DeadLetters(tmp_path / "letters.db", loaded.config.dead_letters, databases)
    made = components.make(loaded, letters, Shared(databases))
    return [f"{'.'.join(map(str, problem.place))}: {problem.text}" for problem in made.problems]


@pytest.mark.parametrize("kind", ["window", "dedupe", "sequence", "expect", "anomaly", "forecast", "merge"])
def test_every_step_that_keeps_records_of_a_key_is_marked(kind: str) -> None:
    assert not registry.load("steps", kind).in_each_process


def test_a_step_that_remembers_needs_one_process(tmp_path: Path) -> None:
    step = '{ type = "sample", one_in = 2 }'
    (problem,) = problems(tmp_path, step=step)
    assert problem.startswith("pipelines.main.steps.0: sample remembers records")
    assert "the source 'floor'" in problem
    assert "daemon.processes = 1" in problem
    assert not problems(tmp_path, step=step, processes="1")
    assert not problems(tmp_path, step=step, source="made", other="floor"), (
        "one process alone has the records"
    )


@pytest.mark.parametrize(
    "step", ['{ type = "drop", fields = ["a"] }', '{ type = "sample", one_in = 2, key = ["a"] }']
)
def test_a_step_that_remembers_nothing_runs_in_every_process(tmp_path: Path, step: str) -> None:
    assert not problems(tmp_path, step=step)


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ("def step(record):\n    return record\n", 0),
        ("class step:\n    def process(self, record):\n        return record\n", 1),
    ],
)
def test_a_class_in_python_may_remember_and_a_function_does_not(
    tmp_path: Path, body: str, refused: int
) -> None:
    (tmp_path / "own.py").write_text(body)
    assert len(problems(tmp_path, step='{ type = "python", function = "own.py:step" }')) == refused


def test_every_sink_that_cannot_be_shared_says_why() -> None:
    for name in registry.names("sinks"):
        sink = registry.load("sinks", name)
        assert bool(sink.why_one_process) != sink.in_each_process, name


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, sink="kept")
    assert problem.startswith(
        "pipelines.main.sinks.0: a file sink cannot be shared by several processes, because one writer alone"
    )
    assert not problems(tmp_path, sink="kept", source="made", other="floor")


def test_a_dated_file_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, sink="daily")
    assert problem.startswith(
        "pipelines.main.sinks.0: several processes cannot change to the next dated file"
    )


def test_without_a_source_for_several_processes_the_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "streamd.toml"
    text = BASE.format(processes=2, source="made", other="made", sink="rows", step="")
    path.write_text(text.replace(text[text.index("[sources.floor]") : text.index("[sources.made]")], ""))
    (problem,) = refusals(load(path), {})
    assert problem.place == ("daemon", "processes")


def test_a_share_is_not_refused(tmp_path: Path) -> None:
    """A process checks its own part again, with steps that get records in one process only."""
    problems(tmp_path, step='{ type = "sample", one_in = 2 }', source="made", other="floor")
    loaded = load(tmp_path / "streamd.toml")
    assert set(share_of(loaded, 0, 2).config.pipelines) == {"main", "other"}
    assert set(share_of(loaded, 1, 2).config.pipelines) == {"other"}
