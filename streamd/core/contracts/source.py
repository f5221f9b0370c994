"""The contract of sources, and their context."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from streamd.core.contracts.framer import AnyFramer
from streamd.core.counters import Counters
from streamd.core.downstream import Downstream
from streamd.core.errors import Place
from streamd.core.even_share import EvenShare
from streamd.core.frames import Frames
from streamd.core.peer import Peer
from streamd.core.settings import Address, SourceSettings
from streamd.core.tenure import Tenure

C = TypeVar("C", bound=SourceSettings)
"""The settings of the source."""


class Outlet(Protocol):
    """Takes the frames that a source has read; counts them, applies the policy and buffers them."""

    def offer(self, frames: Frames) -> bool:
        """Take the frames. False: stop reading until the callback of `on_resume` is called.

        The frames are taken in both cases.
        """

    def refuse(self, n: int, reason: str) -> None:
        """Count `n` frames that were read and then dropped by a limit or by the framing."""

    def ended(self, peer: Peer) -> None:
        """Report the end of a connection, after all its frames were offered.

        `peer` is the same object as in the frames.
        """

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Set the callback that is called when the buffer has room again after `offer` returned False."""


class ReadNotes(Protocol):
    """Where a source notes what it takes from the kernel, for a process that looks there after a kill."""

    headers: memoryview
    """Memory for the array in which the kernel reports each datagram that it hands over."""
    counted_drops: int | None
    """How many of the datagrams that the kernel dropped earlier processes have counted, if there were any."""

    def begin(self) -> None:
        """A read begins: everything that was read before is counted."""

    def end(self) -> None:
        """All datagrams of the read are counted."""


class Sockets(Protocol):
    """The listening sockets of the process. A socket may outlive the source that reads it."""

    def take(self, listen: Address, kind: socket.SocketKind, owner: str) -> tuple[socket.socket, Address]:
        """A bound, non-blocking socket and its address. Raises `EnvironmentFault`."""

    def give_back(self, listen: Address, kind: socket.SocketKind) -> bool:
        """Give back a taken socket. Returns False if another source or systemd still holds the address."""

    def rehearse(self, listen: Address, kind: socket.SocketKind, owner: str) -> None:
        """Raise the error that `take` would raise; leaves no socket bound."""

    def notes(self, source: str) -> ReadNotes | None:
        """Where a source of datagrams notes its reads; None if no other process would look there."""

    def share_of(self, listen: Address) -> EvenShare | None:
        """The part of this process in the connections to an address; None if no other one accepts them."""


@dataclass(slots=True, frozen=True)
class SourceContext:
    """The name, counters, folders and shared objects that a source can use."""

    name: str
    counters: Counters
    """Counters of the source that belong to no sum. They go on if a reload makes a new source."""
    new_framer: Callable[[], AnyFramer] | None
    """Makes a framer for a connection or a file; None for a source that cuts no frames."""
    base_dir: Path = Path()
    """Folder of the configuration file: base folder of relative input paths."""
    state_dir: Path = Path()
    """Base folder of relative paths of files that the source makes (sockets, stored positions)."""
    sockets: Sockets | None = None
    """The listening sockets of the process; with None, a listener makes its own."""
    needs_first: bool = False
    """Whether the codec needs the first frame of a file again if reading resumes at a later position."""
    files: Any = None
    """The result of the source's `read_files`."""
    configured: frozenset[str] = frozenset()
    """The names of all sources of the configuration."""
    downstream: Downstream = field(default_factory=Downstream, compare=False)
    """The pipelines that read the source, for one that claims inputs (see `Tenure`)."""
    redact_peer: Callable[[Peer], Peer] | None = field(default=None, compare=False)
    """Redacts a sender; None if the source keeps its senders."""

    def shown(self, peer: Peer) -> Peer:
        """The sender as a log line may show it."""
        return peer if self.redact_peer is None else self.redact_peer(peer)


class Numbering(Protocol):
    """The numbers of a source's frames. A frame that is read again after a restart has the same number.

    They keep the state of steps and the stored position of the source consistent: the position never passes
    the frames that are part of the stored state, and those frames are not offered again.
    """

    name: str
    """Identifies this sequence of numbers. It changes if the source begins to count anew."""
    handed_on: int
    """Number of frames offered so far, including earlier runs. Before `open`: frames before the position."""

    framing: str
    """The digest of the framer. With another framer, the same bytes would have other numbers."""
    framing_since: int
    """The number of the last frame that was cut before this framing was in use."""

    tenure: Tenure
    """The tenure of the frames that are offered next. A part has the number of its first frame."""

    def divide_behind(self, number: int) -> None:
        """Let a part of the input end with this frame, because a sink has stored the frames up to it."""

    def skip_to(self, number: int) -> None:
        """Do not offer frames up to this number, because the state contains their effect."""

    def hold_back(self) -> None:
        """From now on, let the stored position pass only frames that `release` has named."""

    def cut(self, waiting: int) -> int:
        """The number of the last offered frame without the `waiting` ones, for a later call of `release`."""

    def is_settled(self, number: int) -> bool:
        """Whether the acks of all frames up to this number are settled."""

    def release(self, number: int | None) -> None:
        """Report that the state up to frame `number`, a result of `cut`, is stored. None: without state."""


class KernelQueue(NamedTuple):
    """A queue of the kernel that drops the datagrams that find no room."""

    used_bytes: int
    max_bytes: int
    datagrams: int
    """Datagrams read from the queue so far."""
    datagram_bytes: float | None
    """Bytes that a datagram takes in the queue, headers and rounding included; None until it was measured."""


class Source(ABC, Generic[C]):
    """Reads frames from outside and offers them to its outlet."""

    opens_beside: ClassVar[bool] = False
    """Whether a reload can open the source before it closes the source that this one replaces."""
    in_each_process: ClassVar[bool] = False
    """Whether each of several processes (`daemon.processes`) may receive for it, on sockets given to them."""
    counters: ClassVar[Mapping[str, str]] = {}
    """The counters that belong to no sum, each with its meaning in one sentence."""
    gauges: ClassVar[Mapping[str, str]] = {}
    """The gauges in `context.counters`, each with its meaning. Unlike a counter a gauge may fall."""
    address: Address | str
    """The address that the source listens on, or the path that it reads; after `open` with the real port."""

    class Config(SourceSettings):
        """The options of this source."""

    def __init__(self, config: C, context: SourceContext) -> None:
        self.config = config
        self.context = context
        context.counters.declare(self.counters)
        context.counters.gauge_meanings |= self.gauges

    @abstractmethod
    async def open(self, outlet: Outlet) -> None:
        """Open the input and begin to read. Raises `EnvironmentFault`."""

    @abstractmethod
    def rehearse(self) -> None:
        """Raise the error that `open` would raise, in the same words, and change nothing.

        Keeps no file, lock or address. Blocks. Raises `Taken` only if there is no other error: a running
        daemon of the same configuration may hold the place.
        """

    @property
    def open_connections(self) -> int:
        """Number of open connections; 0 for a source without connections."""
        return 0

    @property
    def certificate_expires_at_wall_s(self) -> float | None:
        """When the source's own certificate expires (wall clock, seconds); None without a certificate."""
        return None

    def numbering(self) -> Numbering | None:
        """The numbers of the source's frames, available before `open`. Raises `EnvironmentFault`.

        None for a source that cannot read frames again.
        """
        return None

    @classmethod
    def read_files(cls, config: C, base_dir: Path) -> Any:
        """Read the files that the settings name and an operator may replace (certificates).

        Called before a start or reload changes anything; the result becomes `context.files`. Two results are
        equal if the files did not change; then a reload keeps the source. Raises `EnvironmentFault`.
        """
        del config, base_dir

    @property
    def places(self) -> list[Place]:
        """The places, as in `Taken`, that the open source holds."""
        return []

    @property
    def kernel_queue(self) -> KernelQueue | None:
        """The kernel's queue before this source; None if there is none or the source cannot read it."""
        return None

    def refresh(self) -> None:
        """Copy numbers that the kernel keeps (dropped datagrams) into the counters."""

    def can_become(self, config: C) -> bool:
        """Whether the source can take over these settings, of the same type, and keep its connections."""
        return bool(config == self.config)

    def become(self, config: C, context: SourceContext) -> None:
        """Take over settings for which `can_become` returned True."""
        self.config = config
        self.context = context

    @abstractmethod
    async def stop(self) -> None:
        """Stop reading, offer the frames that were read, and close. May be called twice."""


AnySource = Source[Any]
"""A source with settings of any type."""
