"""Bounds and topology of a configuration, with costs from elsewhere."""

from pathlib import Path

from streamd.capacity.configured import Costs, lines_of
from streamd.config import load
from streamd.config.tables import Config

TOML = """
[sources.udp]
type = "udp"
listen = "127.0.0.1:9999"
receive_buffer = "2MiB"
[sources.tcp]
type = "tcp"
listen = "127.0.0.1:9999"
buffer = { max_records = 50, max_bytes = "1MiB" }
[sources.alone]
type = "tcp"
listen = "127.0.0.1:9998"
[pipelines.main]
sources = ["udp", "tcp"]
sinks = ["records"]
[pipelines.copy]
sources = ["udp"]
sinks = ["records", "lines"]
[pipelines.alone]
sources = ["alone"]
sinks = ["lines"]
[sinks.records]
type = "sqlite"
batch = { max_records = 70, max_wait = "3s" }
[sinks.lines]
type = "stdout"
buffer = { max_records = 9, when_full = "drop_newest" }
"""


def configuration(folder: Path) -> Config:
    (folder / "streamd.toml").write_text(TOML)
    return load(folder / "streamd.toml").config


def test_pipelines_that_share_a_source_are_one_line_with_their_bounds(tmp_path: Path) -> None:
    asked: list[tuple[list[str], list[str]]] = []

    def costs(names: list[str], sources: list[str]) -> Costs | None:
        asked.append((names, sources))
        return None if names == ["alone"] else Costs(0.001, 500.0, True, 2.0)

    (line,) = lines_of(configuration(tmp_path), {"tcp": [(1.0, 7.0)]}, costs, 100.0)
    assert asked == [(["main", "copy"], ["udp", "tcp"]), (["alone"], ["alone"])]
    assert (line.name, line.process_s, line.records_per_frame, line.at_least) == (
        "main, copy",
        0.001,
        2.0,
        True,
    )
    assert line.per_frame == {"records": 4.0, "lines": 2.0}
    udp, tcp = line.sources
    assert (udp.buffer.max_records, udp.buffer.when_full) == (65536, "drop_oldest")
    assert udp.receive_buffer_bytes == 2 * 2**20
    assert (tcp.buffer.max_records, tcp.buffer.max_bytes, tcp.buffer.when_full) == (50, 2**20, "block")
    assert tcp.receive_buffer_bytes is None
    assert (udp.rate_per_s, tcp.rate_per_s) == (0, 7)
    records, lines = line.sinks
    assert (records.capacity_per_s, records.enough, records.max_wait_s) == (500, 70, 3.0)
    assert records.buffer.when_full == "block"
    assert records.buffer.item_bytes == 800
    assert (lines.buffer.max_records, lines.buffer.when_full) == (9, "drop_newest")
