"""`streamd try` in a process of its own, as somebody would type it.

This is also about `trial/trial.py`, `trial/output.py` and `cli/_own_output.py`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[schemas.reading]
ts = "timestamp"
sensor = "str"
value = {{ type = "float", ge = -50 }}
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
{lab}
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
framing = "octet_counting"
codec = "json"
schema = "reading"
[pipelines.main]
sources = ["lab"]
sinks = ["readings", {{ name = "alarms", where = "value > 90" }}, "out"]
steps = [
  {{ type = "filter", where = "sensor != 'x'" }},
  {{ type = "python", function = "steps.py:step", executor = "{executor}" }},
]
[pipelines.typed]
sources = ["floor"]
sinks = ["typed"]
[pipelines.plain]
sources = ["lab"]
sinks = ["plain"]
[sinks.readings]
type = "sqlite"
path = "streamd.db"
table = "readings"
schema = "reading"
extra = "reject"
[sinks.typed]
type = "sqlite"
path = "streamd.db"
table = "typed"
schema = "reading"
unique = ["sensor"]
retention = {{ max_age = "1m", age_column = "ts" }}
[sinks.alarms]
type = "sqlite"
path = "/nowhere/alarms-%Y.db"
[sinks.out]
type = "stdout"
[sinks.plain]
type = "tcp"
address = "127.0.0.1:1"
"""
STEPS = """
def step(record):
    print("printed by a step")
    if record.get("boom"):
        raise ValueError("boom")
    return record
"""
TS = '"ts":"2026-01-31T08:00:00Z"'
SAMPLE = f"""\
{{{TS},"sensor":"a","value":95}}
{{{TS},"sensor":"x","value":5}}
not json
{{{TS},"sensor":"a","value":5,"boom":1}}
{{{TS},"sensor":"a","value":5,"more":1}}
{{{TS},"sensor":"a","value":-500}}
{{"sensor":"a","value":5}}
"""


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    (tmp_path / "steps.py").write_text(STEPS)

    def run(
        *options: str,
        sample: str | bytes = SAMPLE,
        executor: str = "inline",
        lab: str = "",
        config: str = CONFIG,
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / "c.toml").write_text(config.format(executor=executor, lab=lab))
        before = sorted(path.name for path in tmp_path.iterdir())
        done = subprocess.run(
            [sys.executable, "-m", "streamd", "try", "--config", "c.toml", *options],
            input=sample if isinstance(sample, bytes) else sample.encode(),
            capture_output=True,
            cwd=tmp_path,
            check=False,
            env={key: value for key, value in os.environ.items() if key != "STATE_DIRECTORY"},
            timeout=100,
        )
        assert sorted(path.name for path in tmp_path.iterdir()) == before, "it changes nothing"
        return subprocess.CompletedProcess("", done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def objects(done: subprocess.CompletedProcess[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    *frames, sums = map(json.loads, done.stdout.splitlines())
    return frames, sums


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_the_fate_of_each_record_is_told_wherever_a_step_runs(
    attempt: Callable[..., Any], executor: str
) -> None:
    done = attempt("--source", "lab", "--pipeline", "main", "--json", executor=executor)
    assert done.returncode == 1
    assert "printed by a step" in done.stderr
    frames, sums = objects(done)
    assert [frame["payload"] for frame in frames] == SAMPLE.splitlines()
    where = [{stored["sink"] for stored in frame["stored"]} for frame in frames]
    assert where == [{"readings", "alarms", "out"}, set(), set(), set(), {"out"}, {"out"}, {"out"}]
    assert frames[0]["stored"][0]["rows"] == [
        {"ts": "2026-01-31T08:00:00.000000Z", "sensor": "a", "value": 95.0}
    ]
    assert frames[1]["filtered"] == [{"pipeline": "main", "step": "filter[0]", "records": 1}]
    why = [[(bad["stage"], bad["sink"], bad["reason"]) for bad in frame["rejected"]] for frame in frames]
    assert why == [
        [], [], [("decode", None, "json:syntax")], [("python[1]", None, "exception")],
        [("sink", "readings", "row:extra")], [("sink", "readings", "schema:range")],
        [("sink", "readings", "schema:required")],
    ]  # fmt: skip
    assert frames[3]["rejected"][0]["detail"] == "ValueError: boom (steps.py:5)"
    assert json.loads(frames[3]["rejected"][0]["payload"])["boom"] == 1
    assert sums == {
        "frames": 7, "stored": 6, "filtered": 1, "unmatched": 3, "held": 0, "rejected": 5,
            "lost": [], "balanced": True,
    }  # fmt: skip


SEVERAL = """
[schemas.reading]
value = "float"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["db"]
steps = [{{ type = "filter", where = "other == 1 or value > 1" }}]
[sinks.db]
type = "sqlite"
"""


@pytest.mark.parametrize("source", ["lab", "floor"])
def test_a_pipeline_of_several_sources_is_tried_with_one_of_them(
    source: str, attempt: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    sample = '{"value": 2}\n{"value": 1}\n'
    done = attempt("--source", source, sample=sample, config=SEVERAL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 frames, 1 stored, 1 filtered, 0 rejected; the books balance" in done.stdout


def test_the_source_has_to_be_named_where_a_pipeline_has_several(
    attempt: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = attempt(sample="{}", config=SEVERAL)
    assert done.returncode == 2
    assert "of the sample with --source: lab, floor" in done.stderr


def test_all_pipelines_of_a_source_are_tried_and_people_read_it_too(attempt: Callable[..., Any]) -> None:
    done = attempt("--source", "lab", sample=f'{{{TS},"sensor":"a","value":95}}\n{{"sensor":"x"}}\n')
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f'1  {{{TS},"sensor":"a","value":95}}'
    assert "   stored    record by pipeline main in sink readings (sqlite)" in lines
    assert "             ts = 2026-01-31T08:00:00.000000Z, sensor = a, value = 95.0" in lines
    assert "   stored    record by pipeline plain in sink plain (tcp)" in lines
    assert "   filtered  1 by pipeline main, step filter[0]" in lines
    assert lines[-1] == "2 frames, 5 stored, 1 filtered, 0 rejected; the books balance"


def test_a_streams_own_framing_cuts_the_sample_and_rows_replace_each_other(
    attempt: Callable[..., Any],
) -> None:
    one = f'{{{TS},"sensor":"a","value":1}}'
    done = attempt("--pipeline", "typed", "--json", sample=f"{len(one)} {one}{len(one)} {one}")
    frames, sums = objects(done)
    assert done.returncode == 0
    assert [frame["stored"][0]["rows"][0]["sensor"] for frame in frames] == ["a", "a"]
    assert sums["stored"] == 2
    broken = attempt("--source", "floor", "--json", sample=f"{len(one)} {one}hello")
    assert broken.returncode == 1
    assert objects(broken)[1]["lost"]


def test_a_sample_may_be_one_datagram_of_several_records(attempt: Callable[..., Any]) -> None:
    sample = f'{{{TS},"sensor":"a","value":1}}\n{{{TS},"sensor":"b","value":2}}\n'
    done = attempt("--source", "lab", "--pipeline", "main", "--whole", "--json", sample=sample)
    (frame,), sums = objects(done)
    assert {stored["sink"]: stored["records"] for stored in frame["stored"]} == {"readings": 2, "out": 2}
    assert [row["sensor"] for row in frame["stored"][0]["rows"]] == ["a", "b"]
    assert (sums["frames"], sums["stored"]) == (1, 4)


def test_bytes_that_are_no_text_are_shown_and_given_exactly(attempt: Callable[..., Any]) -> None:
    done = attempt("--source", "lab", "--pipeline", "plain", "--json", sample=b"\xff\x1b[31m\n")
    (frame,), _ = objects(done)
    assert frame["payload_base64"] == frame["rejected"][0]["payload_base64"] == "/xtbMzFt"
    shown = attempt("--source", "lab", "--pipeline", "plain", sample=b"\xff\x1b[31m\n")
    assert "\x1b" not in shown.stdout
    assert shown.returncode == 1


HELD = """
[admin]
listen = "none"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
steps = [{{ type = "totals", by = "key", sum_of = "n", every = "1h" }}, {{ type = "count", by = "key" }}]
sinks = ["out"]
[pipelines.held]
sources = ["lab"]
steps = [{{ type = "count", by = "key" }}, {{ type = "delay", by = "1h" }}]
sinks = ["out"]
[sinks.out]
type = "stdout"
"""


def test_a_record_that_a_step_holds_is_held_by_that_step(
    attempt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "third_party"))
    done = attempt("--source", "lab", config=HELD, sample='{"key":"a","n":1}\n')
    assert done.returncode == 0, done.stderr
    assert "held      1 by step totals[0] of pipeline main" in done.stdout
    assert "held      1 by step delay[1] of pipeline held" in done.stdout
    assert "no record" not in done.stdout
    (frame,), sums = objects(attempt("--source", "lab", "--json", config=HELD, sample='{"key":"a","n":1}\n'))
    assert frame["held_by"] == [
        {"pipeline": "main", "step": "totals[0]", "records": 1},
        {"pipeline": "held", "step": "delay[1]", "records": 1},
    ]
    assert (sums["held"], sums["balanced"]) == (2, True)


JOINED = """
[admin]
listen = "none"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "text"
multiline.continues = "{{}} "
[pipelines.main]
sources = ["floor"]
sinks = ["out"]
[sinks.out]
type = "stdout"
"""


def test_the_last_message_of_several_lines_ends_with_the_sample(attempt: Callable[..., Any]) -> None:
    config = JOINED.replace("{{}}", "")
    done = attempt("--source", "floor", config=config, sample="a\n one\nb\n two\n")
    assert done.returncode == 0, done.stderr
    last = done.stdout.split("end of the sample, for the frames that the codec has held\n")[1].splitlines()
    assert "stored    record by pipeline main" in last[0]
    assert last[1].strip() == r'{"message":"b\n two"}'
    assert last[2] == "4 frames, 2 stored, 0 filtered, 0 rejected; the books balance"
    frames, sums = objects(attempt("--source", "floor", "--json", config=config, sample="a\n one\n"))
    assert [frame.get("held", False) for frame in frames] == [True, True, False]
    assert (frames[2]["end"], len(frames[2]["stored"])) == (True, 1)
    assert (sums["frames"], sums["stored"], sums["balanced"]) == (2, 1, True)
    alone = attempt("--source", "floor", config=config.replace("text", "json"), sample="b\n two\n").stdout
    assert "rejected  codec: json:syntax" in alone.split("end of the sample")[1]


def test_an_empty_sample_is_no_fault(attempt: Callable[..., Any]) -> None:
    done = attempt("--source", "lab", sample="")
    assert (done.returncode, done.stdout) == (
        0,
        "0 frames, 0 stored, 0 filtered, 0 rejected; the books balance\n",
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "of the sample with --source: lab, floor"),
        (("--source", "flor"), "there is no source 'flor': there are lab, floor"),
        (("--pipeline", "mian"), "there is no pipeline 'mian': there are main, typed, plain"),
        (("--pipeline", "main", "--source", "floor"), "the pipeline 'main' reads no source 'floor'"),
    ],
)
def test_a_name_that_is_missing_or_wrong_lists_those_there_are(
    attempt: Callable[..., Any], options: tuple[str, ...], said: str
) -> None:
    done = attempt(*options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_object_that_cannot_be_made_is_said_with_its_place(
    attempt: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "steps.py").write_text(
        "class step:\n    def __init__(self):\n        raise OSError('no model')\n"
        "    def __call__(self, r): return r\n"
    )
    done = attempt("--source", "lab")
    assert done.returncode == 1
    assert "OSError: no model (steps.py:3)" in done.stderr.splitlines()[-1]


def test_a_source_that_redacts_shows_no_personal_data(attempt: Callable[..., Any]) -> None:
    rules = '{ detect = ["email"], action = "mask" }, { fields = ["sensor"], action = "drop" }'
    lab = f"redact = {{ rules = [{rules}] }}"
    mail = "alice@example.org"
    sample = (
        f'{{{TS},"sensor":"alice","value":5,"note":"of {mail}"}}\n'
        f'{{{TS},"sensor":"alice","value":5,"boom":"{mail}"}}\n'
        f"text of {mail}\n"
        f'{{"note": "{mail}\n'
    )
    for options in ([], ["--json"]):
        done = attempt("--source", "lab", *options, sample=sample, lab=lab)
        assert done.returncode == 1
        assert "alice" not in done.stdout + done.stderr
        assert "of ***" in done.stdout
        assert "<withheld by redact: 25 bytes>" in done.stdout


PARQUET = """
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
sinks = ["lake", "all"]
[sinks.lake]
type = "parquet"
path = "lake/%Y/x.parquet"
columns = {{ n = "int" }}
extra = "drop"
[sinks.all]
type = "parquet"
path = "all.parquet"
"""


def test_a_parquet_sink_shows_its_columns_and_rejects(attempt: Callable[..., Any]) -> None:
    done = attempt("--json", config=PARQUET, sample='{"n":1,"m":2}\n{"n":"x"}\n')
    assert done.returncode == 1
    frames, sums = objects(done)
    stored = [{one["sink"]: one["rows"] for one in frame["stored"]} for frame in frames]
    assert stored[0]["lake"] == [{"n": 1}]
    assert [json.loads(found["all"][0]["record"]) for found in stored] == [{"n": 1, "m": 2}, {"n": "x"}]
    assert [(bad["sink"], bad["reason"]) for bad in frames[1]["rejected"]] == [("lake", "schema:type")]
    assert (sums["stored"], sums["rejected"], sums["balanced"]) == (3, 1, True)


POSTGRESQL = """
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[schemas.reading]
at = "timestamp"
n = "int"
[pipelines.main]
sources = ["lab"]
sinks = ["store", "all"]
[sinks.store]
type = "postgresql"
database = "absent"
table = "plant.readings"
schema = "reading"
unique = ["at"]
partition = {{ width = "1d", column = "at" }}
retention = {{ max_age = "1d" }}
[sinks.all]
type = "postgresql"
address = "/nowhere/.s.PGSQL.5432"
database = "absent"
"""


def test_a_postgresql_sink_shows_its_columns_and_rejects_without_a_server(
    attempt: Callable[..., Any],
) -> None:
    sample = '{"at":"2020-01-31T09:00:00+01:00","n":1,"m":2}\n{"at":null,"n":2}\n'
    done = attempt("--json", config=POSTGRESQL, sample=sample)
    assert done.returncode == 1, done.stderr
    frames, sums = objects(done)
    stored = [{one["sink"]: one["rows"] for one in frame["stored"]} for frame in frames]
    assert stored[0]["store"] == [{"at": "2020-01-31T08:00:00.000000Z", "n": 1, "extra": '{"m":2}'}]
    assert [json.loads(found["all"][0]["record"])["n"] for found in stored] == [1, 2]
    assert [(bad["sink"], bad["reason"]) for bad in frames[1]["rejected"]] == [("store", "schema:required")]
    assert (sums["stored"], sums["rejected"], sums["balanced"]) == (3, 1, True)
