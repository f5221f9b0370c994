import sys
import time
from pathlib import Path
from urllib.error import HTTPError

import pytest

from streamd.bench.child import free_port
from streamd.bench.ready_child import ReadyChild, connect, fetch
from streamd.bench.row import BenchError

SERVE = "import http.server as h; h.HTTPServer(('127.0.0.1', {}), h.SimpleHTTPRequestHandler).serve_forever()"


class Python(ReadyChild):
    """A child that runs some Python, and is ready when it listens on a port."""

    def __init__(self, folder: Path, code: str, port: int, within_s: float) -> None:
        self.program = (sys.executable,)
        super().__init__(folder, "-c", code, ready=lambda: connect(port), within_s=within_s, look_s=0.01)


def test_a_child_answers_when_the_constructor_returns(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "said").write_text("yes")
    with Python(tmp_path, SERVE.format(port), port, 60.0) as child:
        assert fetch(port, "said") == b"yes"
        assert child.started_mono_s < child.ready_mono_s <= time.monotonic()
        assert child.cpu_s >= 0.0
        with pytest.raises(HTTPError, match="404"):
            fetch(port, "nothing")


def test_a_child_that_ends_or_is_late_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="ended with exit code 3"):
        Python(tmp_path, "raise SystemExit(3)", free_port(), 60.0)
    with pytest.raises(BenchError, match="was not ready within 0 s"):
        Python(tmp_path, "import time; time.sleep(60)", free_port(), 0.2)
