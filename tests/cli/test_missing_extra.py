"""What `streamd check` says about a configuration that needs an extra which is not installed."""

import sys
from pathlib import Path

import pytest

from streamd.cli import main

CONFIG = """\
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
sinks = ["out"]
[[pipelines.main.steps]]
type = "window"
size = "1m"
aggregate = { n = "count()", typical = "FUNCTION" }
[sinks.out]
type = "stdout"
"""


@pytest.mark.parametrize("function", ["quantile(v, 0.5)", "distinct(v)", "top_k(v, 3)"])
def test_a_window_with_sketches_names_the_extra_and_the_line(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)  # so that its import fails
    path = tmp_path / "c.toml"
    path.write_text(CONFIG.replace("FUNCTION", function))
    assert main(["check", "--offline", str(path)]) == 2
    problem = capsys.readouterr().err
    assert problem.startswith(f"{path}:11: pipelines.main.steps[0].aggregate.typical: ")
    assert problem.endswith(
        f"{function.partition('(')[0]} needs the package datasketches:"
        " pip install 'streamd-daemon[analytics]'\n"
    )


def test_other_aggregates_need_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    path = tmp_path / "c.toml"
    path.write_text(CONFIG.replace("FUNCTION", "rate(v)"))
    assert main(["check", "--offline", str(path)]) == 0


def test_a_parquet_sink_names_the_extra_and_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "c.toml"
    path.write_text(
        CONFIG.replace('type = "stdout"', 'type = "parquet"\npath = "x.parquet"').replace(
            "FUNCTION", "rate(v)"
        )
    )
    assert main(["check", "--offline", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"{path}:13: sinks.out.type: the sink parquet needs the package pyarrow:"
        " pip install 'streamd-daemon[parquet]'\n"
    )


def test_a_sink_of_postgresql_names_the_extra_and_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for module in ("server", "faults"):
        monkeypatch.delitem(sys.modules, f"streamd.postgresql.{module}", raising=False)
    path = tmp_path / "c.toml"
    path.write_text(
        CONFIG.replace('"stdout"', '"postgresql"\ndatabase = "lab"').replace("FUNCTION", "rate(v)")
    )
    assert main(["check", "--offline", str(path)]) == 2
    problem = capsys.readouterr().err
    assert problem.startswith(f"{path}:13: sinks.out.type: ")
    assert problem.endswith(
        "the sink postgresql needs the package psycopg: pip install 'streamd-daemon[postgresql]'\n"
    )
