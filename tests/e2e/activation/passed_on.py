"""Take sockets from the test, as systemd passes them on, and become the command that follows."""

import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    passed: list[int] = socket.recv_fds(sock, 1, 16)[1]
high = [os.dup2(fd, 100 + number) for number, fd in enumerate(passed)]
for number, fd in enumerate(high):
    os.dup2(fd, 3 + number, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(len(high)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="x")
os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command of the test
