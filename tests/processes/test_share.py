"""The parts of the processes together are the configuration, and limits are divided."""

from pathlib import Path

from streamd.config import Loaded, load
from streamd.processes.share import share_of

CONFIG = """
[daemon]
processes = 4
[ledger]
max_age = "1d"
[dead_letters]
rate = 1000
burst = 2
[sources.floor]
type = "tcp"
listen = "127.0.0.1:9000"
max_connections = 100
max_connections_per_sender = 8
max_accept_rate = 2
max_frame = "64KiB"
buffer = { max_records = 1000, max_bytes = "100KiB" }
[sources.lab]
type = "udp"
listen = "127.0.0.1:9001"
[sources.made]
type = "generate"
[pipelines.main]
sources = ["made", "floor"]
sinks = ["rows"]
[pipelines.lab]
sources = ["lab"]
sinks = ["rows"]
[pipelines.alone]
sources = ["made"]
sinks = ["kept"]
[sinks.rows]
type = "sqlite"
buffer = { max_records = 1002 }
retention = { max_age = "1d", max_size = "10MiB", min_free = "1MiB" }
[sinks.kept]
type = "file"
path = "kept.jsonl"
buffer = { max_records = 1002 }
"""


def loaded(tmp_path: Path) -> Loaded:
    path = tmp_path / "streamd.toml"
    path.write_text(CONFIG)
    return load(path)


def test_the_first_process_alone_has_what_cannot_be_shared(tmp_path: Path) -> None:
    whole = loaded(tmp_path)
    first, second = (share_of(whole, number, 4).config for number in (0, 1))
    assert set(first.sources) == {"floor", "lab", "made"}
    assert set(second.sources) == {"floor", "lab"}
    assert set(second.pipelines) == {"main", "lab"}
    assert second.pipelines["main"].sources == ["floor"]
    assert set(first.sinks) == {"rows", "kept"}
    assert set(second.sinks) == {"rows"}


def test_a_source_can_be_left_to_the_first_process(tmp_path: Path) -> None:
    whole = loaded(tmp_path)
    alone = frozenset({"lab"})
    assert "lab" in share_of(whole, 0, 4, alone).config.sources
    assert "lab" not in share_of(whole, 1, 4, alone).config.sources
    assert "lab" not in share_of(whole, 1, 4, alone).config.pipelines


def test_limits_for_all_are_divided_and_limits_for_one_sender_are_not(tmp_path: Path) -> None:
    config = share_of(loaded(tmp_path), 1, 4).config
    floor = config.sources["floor"].model_dump()
    assert (floor["max_connections"], floor["max_accept_rate"]) == (25, 1)
    assert floor["max_connections_per_sender"] == 8
    assert floor["buffer"]["max_records"] == 250
    assert floor["buffer"]["max_bytes"] == 64 * 1024, "a frame has to fit"
    assert config.sinks["rows"].buffer.max_records == 250
    assert (config.dead_letters.rate, config.dead_letters.burst) == (250, 1)
    assert share_of(loaded(tmp_path), 0, 4).config.sinks["kept"].buffer.max_records == 1002


def test_one_process_deletes_old_rows(tmp_path: Path) -> None:
    first, second = (share_of(loaded(tmp_path), number, 4).config for number in (0, 1))
    assert first.sinks["rows"].model_dump()["retention"]["max_age"] == 86400
    kept = second.sinks["rows"].model_dump()["retention"]
    assert (kept["max_age"], kept["max_size"], kept["min_free"]) == (None, None, 1 << 20)
    assert first.ledger.max_age == 86400
    assert second.ledger.max_age is None


def test_the_leading_process_serves_the_addresses_and_runs_the_tests(tmp_path: Path) -> None:
    mine = share_of(loaded(tmp_path), 0, 4)
    assert mine.config.admin.listen is None
    assert mine.control_path is None
    assert mine.config.daemon.tests == "ignore"
