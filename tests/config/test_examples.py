from pathlib import Path

import pytest

from streamd import config
from streamd.cli import main
from streamd.core.settings import Address

FOLDER = Path(__file__).parents[2] / "config"
EXAMPLES = sorted(path for path in FOLDER.glob("*.toml") if not path.name.endswith(".test.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_shipped_configuration_is_good(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["check", "--offline", "--config", str(path)]) == 0

    told = capsys.readouterr()
    assert told.err == ""
    assert "may send" not in told.out, "what is shipped listens on loopback only"


def test_the_shipped_configuration_takes_udp_and_tcp_on_one_port() -> None:
    loaded = config.load(FOLDER / "streamd.toml")

    listeners = {(source.type, getattr(source, "listen", None)) for source in loaded.config.sources.values()}
    assert listeners == {("udp", Address("127.0.0.1", 9999)), ("tcp", Address("127.0.0.1", 9999))}
    assert {source.codec.type for source in loaded.config.sources.values()} == {"auto"}
    assert [getattr(sink, "path", None) for sink in loaded.config.sinks.values()] == ["streamd.db"]
