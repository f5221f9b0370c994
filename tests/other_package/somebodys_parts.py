"""Components of somebody else's package, as small as the contracts allow; tests install it for themselves."""

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from streamd.core.batch import Batch, Record
from streamd.core.clock import read_clock
from streamd.core.contracts import (
    Codec,
    Outlet,
    Processed,
    Sink,
    SinkContext,
    Source,
    SourceContext,
    Step,
    StepContext,
    Written,
)
from streamd.core.errors import Place
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.settings import (
    Address,
    Endpoint,
    ListenAddress,
    Settings,
    SinkOutput,
    SinkSettings,
    SourceSettings,
)
from streamd.core.text_values import of_schema
from streamd.net.listen import OwnSockets, place_of


class Knock(Source["Knock.Config"]):
    """Takes datagrams, one at a time."""

    address: Address

    class Config(SourceSettings):
        """A listener whose key is not `listen`."""

        door: ListenAddress = Field(description="address and port")

        @property
        def endpoints(self) -> tuple[Endpoint, ...]:
            return (Endpoint("udp", self.door, "door"),)

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        self.address = config.door
        self._sockets = context.sockets or OwnSockets()
        self._socket: socket.socket | None = None

    async def open(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._socket, self.address = self._sockets.take(
            self.config.door, socket.SOCK_DGRAM, f"source {self.context.name}"
        )
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def rehearse(self) -> None:
        self._sockets.rehearse(self.config.door, socket.SOCK_DGRAM, f"source {self.context.name}")

    @property
    def places(self) -> list[Place]:
        return [place_of(self.address, socket.SOCK_DGRAM)]

    def _read(self) -> None:
        if self._socket is not None:
            data, sender = self._socket.recvfrom(65536)
            self._outlet.offer(Frames.of([data], f"{sender[0]}:{sender[1]}", read_clock().wall_s))

    async def stop(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            self._sockets.give_back(self.config.door, socket.SOCK_DGRAM)


class Tide(Codec[Settings]):
    """Makes a record of a height in centimetres, and brings the schema of these records."""

    brings: ClassVar[Mapping[str, str | Mapping[str, object]]] = {
        "height": {"type": "float", "ge": -500.0},
        "remark": "str",
    }

    def decode_one(self, payload: bytes, now: Now) -> Record:
        height, _, remark = payload.decode().partition(" ")
        record: Record = {"height": height, "remark": remark or None}
        return of_schema(record, self.schema) if self.schema else record


class Tally(Step["Tally.Config"]):
    """Keeps records until there are `size`, and makes one of them; the rest when its time has come."""

    counters: ClassVar[Mapping[str, str]] = {"tallies": "records made of others"}

    class Config(Settings):
        """How many."""

        size: int = Field(3, ge=1, description="records that become one")

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._kept = 0
        self._due_mono_s: float | None = None

    def process(self, records: list[Record], now: Now) -> Processed:
        whole, self._kept = divmod(self._kept + len(records), self.config.size)
        self._due_mono_s = now.mono_s + 1.0 if self._kept else None
        self._due_wall_s = now.wall_s + 1.0
        self.context.counters.add("tallies", whole)
        made: list[Record] = [{"n": self.config.size} for _ in range(whole)]
        return Processed(made, absorbed=len(records), emitted=whole)

    def tick(self, now: Now) -> Processed:
        rest, self._kept, self._due_mono_s = self._kept, 0, None
        return Processed([{"n": rest}] if rest else [])

    def next_deadline(self) -> float | None:
        return self._due_mono_s

    def snapshot(self) -> bytes | None:
        return json.dumps(["tally", self._kept, self._due_wall_s]).encode() if self._kept else None

    def restore(self, state: bytes, now: Now) -> None:
        name, kept, due_wall_s = json.loads(state)
        if name != "tally":
            raise ValueError("this is the state of another step")
        self._kept, self._due_wall_s = kept, due_wall_s
        self._due_mono_s = now.mono_s + due_wall_s - now.wall_s


class Parts(Sink["Parts.Config"]):
    """Appends the number of records of each write to a file."""

    class Config(SinkSettings):
        """A file whose key is not `path`."""

        target: str = Field(description="the file, relative to daemon.state_dir")

        @property
        def outputs(self) -> tuple[SinkOutput, ...]:
            return (SinkOutput("file", self.target, key="target"),)

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        self._path = context.state_dir / config.target

    async def open(self) -> None:
        await asyncio.to_thread(self._path.touch)

    def rehearse(self) -> list[str]:
        return []

    async def write(self, batches: Sequence[Batch]) -> Written:
        with self._path.open("a") as file:
            file.writelines(f"{len(batch)}\n" for batch in batches)
        return Written.whole(len(batches))

    async def close(self) -> None:
        pass
