"""The contract of sources, and of what they are given."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from streamd.core.contracts.framer import AnyFramer
from streamd.core.counters import Counters
from streamd.core.errors import Place
from streamd.core.frames import Frames
from streamd.core.peer import Peer
from streamd.core.settings import Address, SourceSettings

C = TypeVar("C", bound=SourceSettings)
"""The settings of a kind of source."""


class Outlet(Protocol):
    """Where a source puts what it reads. Counting, policy and buffering happen behind it."""

    def offer(self, frames: Frames) -> bool:
        """Take the frames. False: full, stop reading until the callback comes. Nothing offered is refused."""

    def refuse(self, n: int, reason: str) -> None:
        """Count `n` frames that were read and are given up, by a limit or by the framing."""

    def ended(self, peer: Peer) -> None:
        """A connection has ended, and all its frames were offered; `peer` is the very object in them."""

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Called each time there is room again after `offer` said False."""


class Sockets(Protocol):
    """The listening sockets of the process; some outlive the source that reads them."""

    def take(self, listen: Address, kind: socket.SocketKind, owner: str) -> tuple[socket.socket, Address]:
        """A bound, non-blocking socket and the address it has. Raises `EnvironmentFault`."""

    def give_back(self, listen: Address, kind: socket.SocketKind) -> bool:
        """The taken one is read no more. Whether nobody else holds the socket."""

    def rehearse(self, listen: Address, kind: socket.SocketKind, owner: str) -> None:
        """Raises what `take` would, and binds nothing that stays bound."""


@dataclass(slots=True, frozen=True)
class SourceContext:
    """What a source is given: its name, its counters, and a maker of framers where it reads a byte stream."""

    name: str
    counters: Counters
    """What the source counts beside the sum of its frames; they go on where a reload makes it anew."""
    new_framer: Callable[[], AnyFramer] | None
    base_dir: Path = Path()
    """Folder of the file that configured it: relative paths of what it reads start here."""
    state_dir: Path = Path()
    """Where relative paths of what it makes start (sockets, remembered positions)."""
    sockets: Sockets | None = None
    """None: a listener makes its own."""
    needs_first: bool = False
    """Whether the codec needs the first frame of a file again when the file is read on from a later place."""
    files: Any = None
    """What the source's `read_files` has made."""
    configured: frozenset[str] = frozenset()
    """The names of all sources of the configuration."""


class Numbering(Protocol):
    """The numbers of a source's frames, which go on over restarts: what is read again has its number again.

    With them the state of steps and the remembered position of the source are one: the position never passes
    the frames that the stored state has seen, and frames that it has seen are not handed on again.
    """

    name: str
    """Of this sequence of numbers; another one where the source has begun anew."""
    handed_on: int
    """Frames handed on so far, with those of earlier runs. Before `open`: those before the position."""

    def skip_to(self, number: int) -> None:
        """Do not hand on frames up to this number: their effect is in the state."""

    def hold_back(self) -> None:
        """From now on the remembered position passes only what `release` has named."""

    def cut(self, waiting: int) -> int:
        """The number of the last frame handed on, but for those that wait; `release` may be called for it."""

    def is_settled(self, number: int) -> bool:
        """Whether all frames up to this number have found their fate."""

    def release(self, number: int | None) -> None:
        """The state that has seen the frames up to the last `cut` is stored. None: there is no state."""


class Source(ABC, Generic[C]):
    """An edge that reads. `stop` takes no more from outside; what was read is still offered."""

    opens_beside: ClassVar[bool] = False
    """Whether it can be opened while the one that it replaces on a reload is not closed yet."""
    counters: ClassVar[Mapping[str, str]] = {}
    """The names it counts beside the sum of its frames, each with its meaning in one sentence."""
    address: Address | str
    """Where it listens or reads; after `open`, with the port the system chose."""

    class Config(SourceSettings):
        """What the configuration may say of this source."""

    def __init__(self, config: C, context: SourceContext) -> None:
        self.config = config
        self.context = context
        context.counters.declare(self.counters)

    @abstractmethod
    async def open(self, outlet: Outlet) -> None:
        """Bind and begin to read. Raises `EnvironmentFault`."""

    @abstractmethod
    def rehearse(self) -> None:
        """Raise what `open` would, in the same words, and change nothing: no file, lock or address is kept.

        It blocks. Raises `Taken` last: what a running daemon of this configuration holds is no refusal.
        """

    @property
    def open_connections(self) -> int:
        """Connections now; 0 where the kind of source has none."""
        return 0

    @property
    def certificate_expires_at_wall_s(self) -> float | None:
        """Until when its own certificate holds; None where it has none."""
        return None

    def numbering(self) -> Numbering | None:
        """The numbers of its frames, known before it is opened; None where it cannot read them again.

        Raises `EnvironmentFault`.
        """
        return None

    @classmethod
    def read_files(cls, config: C, base_dir: Path) -> Any:
        """What it needs of files that its settings name and somebody may replace (certificates).

        It is read before anything is changed and given as `context.files`; it compares equal where they are
        as they were, and a reload need do nothing. Raises `EnvironmentFault`.
        """
        del config, base_dir

    @property
    def places(self) -> list[Place]:
        """What it holds while it is open, as `Taken` names it."""
        return []

    def refresh(self) -> None:
        """Bring the numbers that are kept elsewhere (the kernel's drops) into the book."""

    def can_become(self, config: C) -> bool:
        """Whether a reload with these settings of its type keeps it, with all it has open."""
        return bool(config == self.config)

    def become(self, config: C, context: SourceContext) -> None:
        """Go on with settings that `can_become` has agreed to."""
        self.config = config
        self.context = context

    @abstractmethod
    async def stop(self) -> None:
        """Take no more, offer what was read, close. Safe to call twice."""


AnySource = Source[Any]
"""A source of whatever kind."""
