"""`check` refuses what could not be repeated by the next worker, and says the way out."""

from pathlib import Path

import pytest

from streamd import components
from streamd.config import load
from streamd.core.dead_letter import LetterList
from streamd.core.shared import Shared
from streamd.sqlite.databases import Databases
from tests.nats_server import needs_server

pytestmark = needs_server

CONFIG = """
[schemas.reading]
sensor = "str"
value = "float"
at = "timestamp"
[sources.s]
type = "nats"
servers = ["127.0.0.1:1"]
stream = "W"
consumer = "c"
subject = "w.{partition}"
partitions = 2
codec = "json"
schema = "reading"
SOURCE
[pipelines.main]
sources = ["s"]
sinks = ["out"]
steps = [STEPS]
[sinks.out]
SINK
"""
SQLITE = 'type = "sqlite"\npath = "data.db"'
WINDOW = (
    'type = "window", key = ["sensor"], time = "at", size = "1m", watermark_delay = "1s",'
    ' aggregate = {n = "count()"}'
)
BY_SENDER = f'{WINDOW}, watermark_by = "sender"'


def problems(tmp_path: Path, steps: str = "", sink: str = SQLITE, source: str = "") -> list[str]:
    path = tmp_path / "streamd.toml"
    path.write_text(CONFIG.replace("STEPS", steps).replace("SINK", sink).replace("SOURCE", source))
    (tmp_path / "steps.py").write_text(
        "def plain(record):\n    return record\n"
        "class Remembers:\n    def process(self, record):\n        return record\n"
        "class Stores(Remembers):\n    def snapshot(self):\n        return b''\n"
        "    def restore(self, state):\n        pass\n"
    )
    made = components.make(load(path), LetterList(), Shared(Databases()))
    return [f"{'.'.join(map(str, problem.place))}: {problem.text}" for problem in made.problems]


@pytest.mark.parametrize(
    "step",
    [
        'type = "filter", where = "value > 1"',
        'type = "dedupe", key = ["sensor"], within = "1m"',
        BY_SENDER,
        'type = "python", function = "steps.py:plain"',
        'type = "python", function = "steps.py:Stores"',
    ],
)
def test_what_depends_on_records_only_is_taken(tmp_path: Path, step: str) -> None:
    assert problems(tmp_path, f"{{ {step} }}") == []


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (WINDOW, 'watermark_by = "sender"'),
        (f'{BY_SENDER}, early = "1s"', "leave early out"),
        (f'{BY_SENDER}, idle_timeout = "1m"', "leave it out"),
        ('type = "expect", key = ["sensor"], every = "1m"', "times of its own"),
        ('type = "python", function = "steps.py:Remembers"', "no snapshot"),
    ],
)
def test_what_needs_more_is_refused(tmp_path: Path, step: str, words: str) -> None:
    (found,) = problems(tmp_path, f"{{ {step} }}")
    assert found.startswith("pipelines.main.steps.0: ")
    assert words in found


def test_a_sink_that_cannot_know_what_it_has_stored_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, sink='type = "stdout"')
    assert found.startswith("pipelines.main.sinks.0: this stdout sink does not store how far")
    assert problems(tmp_path, sink='type = "sqlite"\npath = "data-%Y.db"')


def test_what_drops_records_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, source='buffer = { when_full = "drop_oldest" }')
    assert found.startswith("sources.s.buffer.when_full: ")
    (found,) = problems(tmp_path, sink=f'{SQLITE}\nbuffer = {{ when_full = "drop_newest" }}')
    assert "when_full" in found


def test_a_pipeline_with_state_reads_nothing_else(tmp_path: Path) -> None:
    more = '[sources.t]\ntype = "udp"\nlisten = "127.0.0.1:0"\nschema = "reading"\ncodec = "json"'
    config = CONFIG.replace('sources = ["s"]', 'sources = ["s", "t"]')
    path = tmp_path / "streamd.toml"
    config = config.replace("STEPS", f"{{ {BY_SENDER} }}").replace("SOURCE", "")
    path.write_text(config.replace("SINK", f"{SQLITE}\n{more}"))
    made = components.make(load(path), LetterList(), Shared(Databases()))
    (found,) = made.problems
    assert "without other sources" in found.text
