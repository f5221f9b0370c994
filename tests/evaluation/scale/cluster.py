"""Three NATS servers in one cluster, each of which can be killed and started again."""

import asyncio
import time
from pathlib import Path
from typing import Any

from streamd.bench.child import Child, free_port
from streamd.bench.nats_server import program
from tests.nats_server import api

_START_S = 60.0
SERVERS = 3


class _Server(Child):
    """One server of the cluster."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.program = (program(),)
        super().__init__(folder, "-c", str(config))


class Cluster:
    """A cluster with JetStream on ports of 127.0.0.1. `close` ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = [free_port() for _ in range(SERVERS)]
        routes = [free_port() for _ in range(SERVERS)]
        named = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        for number in range(SERVERS):
            (folder / f"n{number}.conf").write_text(
                f"server_name: n{number}\n"
                f"listen: 127.0.0.1:{self._ports[number]}\n"
                f'jetstream {{ store_dir: "{folder}/n{number}" }}\n'
                f"cluster {{ name: scale, listen: 127.0.0.1:{routes[number]}, routes: [{named}] }}\n"
            )
        self._running: dict[int, _Server] = {}
        self._asked = 0
        for number in range(SERVERS):
            self.start(number)
        self._wait_until_it_answers()

    @property
    def addresses(self) -> list[str]:
        """The addresses of all servers."""
        return [f"127.0.0.1:{port}" for port in self._ports]

    @property
    def address(self) -> str:
        """The address of a server that runs; another one each time."""
        self._asked += 1
        living = sorted(self._running)
        return self.addresses[living[self._asked % len(living)]]

    def ask(self, what: str) -> dict[str, Any]:
        """Ask the API of JetStream. Raises an error of `nats-py` if there is no answer."""
        server: Any = self
        return asyncio.run(api(server, what))

    def start(self, number: int) -> None:
        """Start a server. Its streams are where it left them."""
        self._running[number] = _Server(self._folder, self._folder / f"n{number}.conf")

    def kill(self, number: int) -> None:
        """End a server at once, as a loss of power would, except that its disk keeps what it wrote."""
        self._running.pop(number).__exit__()

    def close(self) -> None:
        """End all servers."""
        for number in list(self._running):
            self.kill(number)

    def leader_of(self, stream: str) -> int:
        """The number of the server that leads the stream."""
        return int(self.ask(f"STREAM.INFO.{stream}")["cluster"]["leader"][1:])

    def _wait_until_it_answers(self) -> None:
        end_s = time.monotonic() + _START_S
        while True:
            try:
                if "error" not in (answer := self.ask("INFO")):
                    return
            except Exception as error:  # noqa: BLE001 - whatever nats-py says of a cluster that has no leader yet
                answer = {"error": str(error)}
            if time.monotonic() > end_s:
                self.close()
                raise AssertionError(f"the cluster is not ready: {answer}")
            time.sleep(0.1)
