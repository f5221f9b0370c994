"""The configuration and the work behind a server of the admin address or of the control socket, for tests."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamd.admin.backing import Backing
from streamd.config import load


class Work:
    """What a daemon does when it is asked for tests and replays."""

    def __init__(self) -> None:
        self.replayed: list[int] = []
        self.error: Exception | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def tests(self) -> dict[str, Any]:
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return {"passed": 2, "failed": 0, "report": "passed  a"}

    async def replay(self, ids: Sequence[int]) -> dict[str, Any]:
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        self.replayed += ids
        return {"letters": len(ids)}


def backing_in(folder: Path, work: Work | None = None, more: str = "", **options: Any) -> Backing:
    """A configuration in the folder, which is also the `state_dir`, with options for `[admin]`."""
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    path = folder / "streamd.toml"
    path.write_text(f"""
[daemon]
state_dir = "{folder}"
[admin]
{table}
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
[sinks.readings]
type = "sqlite"
path = "readings.db"
[pipelines.main]
sources = ["lab"]
sinks = ["readings"]
{more}""")
    loaded = load(path)
    work = work or Work()
    return Backing(lambda: loaded, work.tests, work.replay)
