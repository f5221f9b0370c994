"""A daemon that runs the whole configuration in one process: nobody is beside it."""

import os
import uuid
from collections.abc import Awaitable, Callable

import structlog

from streamd import __version__
from streamd.admin.view import View
from streamd.closing_books import summary
from streamd.config import Loaded
from streamd.core.books import Books
from streamd.logs import logs
from streamd.net.sockets import ListeningSockets, inherited
from streamd.reload.changes import Changes
from streamd.service.announcer import Announcer
from streamd.service.systemd import watchdog_s

log = structlog.get_logger()


class Alone:
    """What a daemon needs to know about its place among several processes: here there is one."""

    has_others = False
    """Whether other processes write to the same files."""
    keeps_state = True
    """Whether this process stores the state of steps."""
    obeys_hangup = True
    """Whether a SIGHUP to this process is a request to reload."""

    def __init__(self) -> None:
        self.run_id = uuid.uuid4().hex[:12]
        self.watchdog_s = watchdog_s(os.environ, os.getpid())
        """The time within which the announcer has to see progress; None if nobody looks."""

    def books(self) -> Books:
        """Empty books for this process."""
        return Books()

    def share(self, loaded: Loaded) -> Loaded:
        """The part of a configuration that this process runs."""
        return loaded

    def sockets(self) -> ListeningSockets:
        """The listening sockets of this process."""
        return ListeningSockets(inherited(os.environ))

    def runs_beside(self, run_id: str) -> bool:
        """Whether a run of the ledger belongs to another process that may still be alive."""
        del run_id
        return False

    async def attach(self, view: View, announcer: Announcer) -> None:
        """Begin to report what `view` shows."""

    async def run(self, reload: Callable[[bool], Awaitable[Changes]], stop: Callable[[bool], None]) -> None:
        """Obey a leading process until cancelled."""

    def say_ready(self, view: View) -> None:
        """Everything is open."""
        log.info("ready", run_id=view.run_id, version=__version__, config=view.config_path)

    async def finish(self, view: View) -> None:
        """Show the books after the end."""
        if view.phase != "starting" or any(book.received for book in view.books.frames.values()):
            for line in summary(view.books):  # after a failed start without frames all would be zero
                logs.print_line(line)
