from pathlib import Path

import pytest

from streamd import config
from tests.bench.peers.blaster import json_lines, syslog_lines
from tests.bench.peers.measure import FailedRun, measure
from tests.bench.peers.systems import HERE, JSON, SYSTEMS, System, filled
from tests.codecs.cases import codec_of, decoded

OURS = [system for system in SYSTEMS if system.source == "here"]


def lines(system: System, count: int) -> list[bytes]:
    return (json_lines if system.job == JSON else syslog_lines)(count)


@pytest.mark.parametrize("system", OURS, ids=lambda system: system.config)
def test_every_record_is_stored_and_the_run_has_a_figure(system: System, tmp_path: Path) -> None:
    figure = measure(system, lines(system, 2000), tmp_path)
    assert figure.rate > 0
    assert figure.cpu_s_per_m > 0


def test_a_record_that_never_comes_out_is_a_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.bench.peers.measure._STUCK_S", 0.5)
    sent = [*lines(OURS[0], 10), b"no json"]
    with pytest.raises(FailedRun, match=r"only \d+ of 11 records"):
        measure(OURS[0], sent, tmp_path)


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.config)
def test_every_place_in_a_configuration_is_filled(system: System, tmp_path: Path) -> None:
    text = filled(system, tmp_path, 4711)
    assert "4711" in text
    assert "@DIR@" not in text
    if system.source == "here":
        path = tmp_path / "streamd.toml"
        path.write_text(text)
        assert config.load(path).state_dir == tmp_path


def test_the_parsed_fields_are_those_sent() -> None:
    (sent,) = syslog_lines(1)
    step: dict[str, object] = {}
    exec((HERE / "syslog_step.py").read_text(), step)  # noqa: S102 - our own file
    found = step["parse"]({"message": sent.decode()})  # type: ignore[operator]
    assert found["at"] == "2026-01-31T08:00:00.000000Z"
    assert (found["host"], found["app"], found["pid"], found["msgid"]) == (
        "edge-00",
        "sensor",
        "1000",
        "reading",
    )
    assert found["pri"] == 134


def test_the_codec_reads_all_of_the_messages_sent() -> None:
    (record,), rejects = decoded(codec_of("syslog"), *syslog_lines(1))
    assert rejects == []
    assert record == {
        "timestamp": "2026-01-31T08:00:00.000000Z", "facility": 16, "severity": 6, "hostname": "edge-00",
        "appname": "sensor", "procid": "1000", "msgid": "reading", "structured_data": {"meta": {"seq": "0"}},
        "message": "value 0.00 C, all well",
    }  # fmt: skip
