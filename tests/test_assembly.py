from pathlib import Path

import pytest

from streamd.assembly import assemble
from streamd.config import load
from streamd.core.books import Books
from streamd.core.clock import read_clock
from streamd.core.dead_letter import LetterList
from streamd.core.shared import Shared

CONFIG = """
[schemas.reading]
ts = "timestamp"
sensor = "str"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[sinks.table]
type = "sqlite"
path = "main.db"
table = "readings"
schema = "reading"
[sinks.lines]
type = "file"
path = "out.jsonl"
"""
WINDOW = """
[[pipelines.{0}.steps]]
type = "window"
size = "1m"
key = ["{1}"]
aggregate = {{ n = "count()" }}
"""
KEEP = """
[[pipelines.{0}.steps]]
type = "filter"
where = "sensor != 'x'"
"""
OMIT = """
[[pipelines.{0}.steps]]
type = "drop"
fields = ["ts"]
"""
A, B = WINDOW.format("a", "sensor"), WINDOW.format("b", "sensor")


def pipeline(name: str, sink: str) -> str:
    named = sink if "{" in sink else f'"{sink}"'
    return f'[pipelines.{name}]\nsources = ["floor"]\nsinks = [{named}]\n'


@pytest.mark.parametrize(
    ("pipelines", "typed"),
    [
        (pipeline("a", "table"), True),
        (pipeline("a", "lines"), False),
        (A + pipeline("a", "lines"), True),
        (A + KEEP.format("a") + pipeline("a", "lines"), True),
        (KEEP.format("a") + A + pipeline("a", "table"), True),
        (KEEP.format("a") + pipeline("a", "lines"), True),
        (OMIT.format("a") + A + pipeline("a", "table"), False),
        (WINDOW.format("a", "lower(sensor)") + pipeline("a", "table"), False),
        (A + pipeline("a", "lines") + pipeline("b", "table"), True),
        (A + pipeline("a", "lines") + B + pipeline("b", "lines"), True),
        (A + pipeline("a", "table") + pipeline("b", "lines"), False),
        (A + pipeline("a", "table") + OMIT.format("b") + pipeline("b", "table"), False),
        (OMIT.format("a") + pipeline("a", "table") + A.replace(".a.", ".b.") + pipeline("b", "table"), False),
    ],
)
def test_records_stay_flat_if_each_pipeline_of_the_source_reads_columns_or_passes_them_on(
    tmp_path: Path, pipelines: str, *, typed: bool
) -> None:
    (tmp_path / "streamd.toml").write_text(CONFIG + pipelines)
    parts = assemble(load(tmp_path / "streamd.toml"), Books(), LetterList(), Shared(), read_clock, None)
    (codec,) = {feed.codec for workers in parts.workers.values() for feed in workers.feeds}
    assert codec.typed is typed


@pytest.mark.parametrize(
    ("pipelines", "flat"),
    [
        (pipeline("a", "table"), True),
        (KEEP.format("a") + pipeline("a", "table"), True),
        (KEEP.format("a") + KEEP.format("a") + pipeline("a", "table"), True),
        (KEEP.format("a") + OMIT.format("a") + pipeline("a", "table"), False),
        (KEEP.format("a") + pipeline("a", "lines"), False),
        (KEEP.format("a") + pipeline("a", 'table", "lines'), False),
        (KEEP.format("a") + pipeline("a", """{ name = "table", where = "sensor != 'x'" }"""), False),
    ],
)
def test_values_reach_the_sinks_if_all_steps_and_sinks_take_them(
    tmp_path: Path, pipelines: str, *, flat: bool
) -> None:
    (tmp_path / "streamd.toml").write_text(CONFIG + pipelines)
    parts = assemble(load(tmp_path / "streamd.toml"), Books(), LetterList(), Shared(), read_clock, None)
    assert list(parts.pipelines["a"].flat_schemas) == ["floor"] * flat
