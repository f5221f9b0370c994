"""Ends processes that tests have started when the tests themselves end, however that happens."""

import atexit
import functools
import signal
import subprocess
import sys
from typing import Any

_WATCHER = """
import os, select, signal, sys
waiting, ends, rest = select.poll(), {}, b""
waiting.register(0, select.POLLIN)

def forget(pid):
    opened, _ = ends.pop(pid)
    waiting.unregister(opened)
    os.close(opened)

while True:
    ready = {fd for fd, _ in waiting.poll()}
    for pid in [pid for pid, (opened, _) in ends.items() if opened in ready]:
        forget(pid)
    if 0 not in ready:
        continue
    read = os.read(0, 65536)
    *lines, rest = (rest + read).split(b"\\n")
    for line in lines:
        pid, number = map(int, line.split())
        if pid in ends:
            forget(pid)
        try:
            opened = os.pidfd_open(pid)
        except OSError:
            continue
        ends[pid] = opened, number
        waiting.register(opened, select.POLLIN)
    if not read:
        for opened, number in ends.values():
            try:
                signal.pidfd_send_signal(opened, number)
            except OSError:
                pass
        sys.exit()
"""
"""Reads lines of a process id and a signal. It holds each process by a descriptor, as an id is used again."""


class _Bound(subprocess.Popen[Any]):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        ends_with_us(self.pid)


def all_end_with_us() -> None:
    """Do so with every process that is started from now on by `subprocess`."""
    _watcher()  # which is none of them
    subprocess.Popen = _Bound  # type: ignore[misc]


def ends_with_us(pid: int, number: int = signal.SIGKILL) -> None:
    """Send the process this signal, not another one, when this process has ended, also by SIGKILL.

    `PR_SET_PDEATHSIG` would end it with the thread that has started it.
    """
    pipe = _watcher().stdin
    assert pipe is not None
    pipe.write(b"%d %d\n" % (pid, number))
    pipe.flush()


@functools.cache
def _watcher() -> subprocess.Popen[bytes]:
    """In a session of its own, so that no signal to the group of this process reaches it."""
    made = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _WATCHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    atexit.register(made.communicate)
    return made
