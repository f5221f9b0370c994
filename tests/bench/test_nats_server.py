from pathlib import Path

import pytest

from streamd.bench.nats_server import TemporaryNats, program
from streamd.bench.ready_child import connect
from streamd.bench.row import SkippedError
from tests.nats_server import needs_server


@needs_server
def test_a_server_listens_until_it_is_left(tmp_path: Path) -> None:
    with TemporaryNats(tmp_path) as server:
        connect(server.port)
        assert (tmp_path / "streams").is_dir()
    with pytest.raises(OSError, match="refused"):
        connect(server.port)


def test_without_the_program_the_scenario_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamd.bench.nats_server.shutil.which", lambda *_, **__: None)
    with pytest.raises(SkippedError, match="is not installed: pip install"):
        program()
