"""`streamd send` as a separate process, like a user's generator."""

import json
from pathlib import Path
from typing import Any

from streamd.bench.child import Child


class Sender(Child):
    """Sends the generated sensor stream to a port of 127.0.0.1."""

    def __init__(self, folder: Path, port: int, count: int, *options: str) -> None:
        super().__init__(
            folder, "streamd", "send", "--generate", "--json", f"--to=127.0.0.1:{port}", f"--count={count}",
            *options,
        )  # fmt: skip

    def summary(self, timeout_s: float = 120.0) -> dict[str, Any]:
        """The summary that it prints. Waits for its end and raises `BenchError` if it fails."""
        self.wait(timeout_s)
        found: dict[str, Any] = json.loads(self.out)
        return found
