"""The speed of a benchmark's document, as `streamd bench --json` writes it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamd.bench.report import document
from streamd.bench.row import Row
from streamd.capacity.benched import figures_of
from streamd.capacity.figures import UnknownCapacityError
from streamd.config import load
from streamd.core.errors import ConfigError
from tests.capacity.test_configured import TOML

WALL = Row(
    name="tcp_wall", what="", value=400_000.0, unit="records/s",
    details={
        "records": 1_000_000,
        "runs": [{"cpu_s": 3.0, "loop_cpu_s": 2.0}, {"cpu_s": 5.0, "loop_cpu_s": 2.5}],
    },
)  # fmt: skip
TYPED = Row(
    name="tcp_typed", what="", value=2.0, unit="CPU s/M",
    details={"runs": [{"records_per_s": 300_000.0}, {"records_per_s": 200_000.0}, {"records_per_s": 1.0}]},
)  # fmt: skip
SET = Row(name="step_set", what="", value=0.5, unit="µs/record")


def written(*rows: Row, quick: bool = False) -> bytes:
    return json.dumps(document(rows, {"cores": 2}, "2026-01-31T08:00:00Z", quick)).encode()


def figures(tmp_path: Path, body: bytes, steps: str = "", **loads: float) -> Any:
    text = TOML.replace("[pipelines.copy]", f"steps = [{steps}]\n[pipelines.copy]")
    (tmp_path / "streamd.toml").write_text(text)
    config = load(tmp_path / "streamd.toml").config
    return figures_of(body, config, {name: [(1.0, rate)] for name, rate in loads.items()}, None, "b.json")


def test_the_rate_by_the_wall_clock_is_the_cost_of_the_core(tmp_path: Path) -> None:
    found = figures(tmp_path, written(WALL, TYPED), udp=70.0)
    assert [line.name for line in found.lines] == ["main, copy", "alone"]
    assert found.lines[0].process_s == pytest.approx(1 / 400_000)
    assert found.lines[0].sinks[0].capacity_per_s == pytest.approx(1_000_000 / 1.75)
    assert found.sources[0].rate_per_s == 70
    assert "tcp_wall of b.json, 2026-01-31T08:00:00Z" in found.assumed[0]


def test_without_it_the_median_rate_of_the_runs_counts(tmp_path: Path) -> None:
    found = figures(tmp_path, written(TYPED, quick=True))
    assert found.lines[0].process_s == pytest.approx(1 / 200_000)
    assert found.lines[0].sinks[0].capacity_per_s == float("inf")
    assert "as a --quick trial" in found.assumed[0]


def test_measured_steps_add_their_cost_and_others_are_named(tmp_path: Path) -> None:
    steps = '{ type = "set", fields = { a = "1" } }, { type = "sample", one_in = 2 }'
    found = figures(tmp_path, written(WALL, SET), steps)
    assert found.lines[0].process_s == pytest.approx(1 / 400_000 + 0.5e-6)
    assert found.lines[1].process_s == pytest.approx(1 / 400_000)
    assert "steps sample of main, copy: free, as b.json has no figures of them" in found.assumed
    assert "steps of main, copy: set 0.50 µs" in found.assumed
    assert found.free_steps == ("sample",)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"rows": 1}', b"\xff", b'{"at": "x", "quick": false}'])
def test_another_file_is_refused_with_the_command_that_writes_one(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--bench b\.json: not a result of `streamd bench"):
        figures(tmp_path, body)


def test_a_benchmark_without_the_speed_is_refused(tmp_path: Path) -> None:
    empty = [replace(WALL, value=0.0), replace(TYPED, details={"runs": []}), SET]
    with pytest.raises(UnknownCapacityError, match="has none of tcp_wall, tcp_typed and tcp_plain"):
        figures(tmp_path, written(*empty))


def test_a_codec_that_was_not_measured_is_named(tmp_path: Path) -> None:
    assert figures(tmp_path, written(WALL)).guessed_codecs == ()
    text = TOML.replace('type = "udp"', 'type = "udp"\ncodec = "csv"', 1)
    (tmp_path / "streamd.toml").write_text(text)
    found = figures_of(written(WALL), load(tmp_path / "streamd.toml").config, {}, None, "b.json")
    assert found.guessed_codecs == ("csv",)
    assert "codecs csv: as fast as json, as b.json has no figures of them" in found.assumed
