"""The client of the control socket of a running daemon."""

import argparse
import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from streamd.admin.own_socket import short
from streamd.config import ControlSettings, DaemonSettings, Problem, find
from streamd.config.loading import SEARCHED, control_path
from streamd.config.tables import CONTROL_SOCKET
from streamd.config.validation import validated
from streamd.config.written import WrittenConfig, read_table
from streamd.core.errors import ConfigError, EnvironmentFault, StreamdError
from streamd.core.listed import listed
from streamd.core.printable import escape

STATUS_TIMEOUT_S = 3.0
UNDER_SYSTEMD = Path("/run/streamd/control.sock")
"""The control socket of the installed service, which runs the last configuration of `SEARCHED`."""

SEARCH_TIMEOUT_S = 1.0
"""The limit for the answer of each socket that may belong to a daemon."""

_COLUMNS = 8
_ACCEPTS = b"00010000"
_NAMED = f"/{CONTROL_SOCKET}"
_DATA, _EVENT, _COMMENT = b"data: ", b"event: ", b":"
_MAX_ANSWER_BYTES = 16 * 1024 * 1024


class Response(NamedTuple):
    """An answer of the daemon, with its HTTP status code."""

    code: int
    body: bytes

    def lines(self) -> str:
        """The text of a refusal, with control characters escaped for a terminal."""
        return "\n".join(escape(line) for line in self.body.decode("utf-8", "replace").splitlines())


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and `--socket`, which select the daemon."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--config", metavar="FILE", help="the configuration of the daemon to ask")
    where.add_argument("--socket", type=Path, metavar="PATH", help="its control socket")


def place(args: argparse.Namespace) -> Path:
    """The control socket that the arguments select. Raises `ConfigError`.

    Only [daemon] and [control] are read, so that a daemon can be asked while its other tables have faults.
    The installed service can be asked even if its file is no TOML: its answer says why it refuses the file.
    """
    if args.socket is not None:
        named: Path = args.socket
        return named
    try:
        path = find(args.config)
    except ConfigError as error:
        return the_only_daemon(error).socket
    problems: list[Problem] = []
    try:
        written = {table: read_table(path, table) for table in ("daemon", "control")}
    except ConfigError:
        if _is_installed(path) and os.path.exists(UNDER_SYSTEMD):  # noqa: PTH110 - never raises
            return UNDER_SYSTEMD
        raise
    daemon = validated(DaemonSettings, written["daemon"], ("daemon",), problems)
    control = validated(ControlSettings, written["control"], ("control",), problems)
    if daemon is None or control is None:
        raise WrittenConfig(path).error(problems)
    found = place_of(path, daemon, control)
    if found is None:
        raise ConfigError(f"{path}: control.path turns the control socket off, so the daemon cannot be asked")
    if not os.path.exists(found) and (running := daemon_of(path)) is not None:  # noqa: PTH110 - the same
        return running.socket
    return found


class RunningDaemon(NamedTuple):
    """A daemon on this host that answers at its control socket."""

    socket: Path
    config: Path
    state_dir: Path


def plain(path: str | Path) -> Path:
    """The absolute path without `..`. Links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow links


def daemons() -> list[RunningDaemon]:
    """Every daemon that this user may ask and whose control socket has the usual name, in any folder."""
    found: list[RunningDaemon] = []
    for socket_path in _listening_sockets():
        try:
            status = json.loads(ask(socket_path, "GET", "/status", SEARCH_TIMEOUT_S).body)
            found.append(RunningDaemon(socket_path, plain(status["config"]), Path(status["state_dir"])))
        except (EnvironmentFault, ValueError, TypeError, KeyError):
            continue  # a socket of another program, or one that this user may not use
    return found


def daemon_of(config: Path) -> RunningDaemon | None:
    """The daemon that runs on this configuration, or None if there is not exactly one."""
    found = [daemon for daemon in daemons() if daemon.config == plain(config)]
    return found[0] if len(found) == 1 else None


def the_only_daemon(no_configuration: ConfigError) -> RunningDaemon:
    """The only daemon on this host. Raises `ConfigError` if there is not exactly one."""
    found = daemons()
    if len(found) == 1:
        return found[0]
    shown = listed(escape(str(daemon.config)) for daemon in found)
    running = f"several daemons run, on {shown}" if found else "no daemon was found running"
    raise ConfigError(f"{no_configuration}; {running}")


def _listening_sockets() -> list[Path]:
    """The paths of listening sockets, from /proc/net/unix, whose columns proc(5) describes."""
    try:
        lines = Path("/proc/net/unix").read_bytes().splitlines()
    except OSError:
        return []
    parts = [line.split(None, 7) for line in lines]
    paths = [os.fsdecode(part[7]) for part in parts if len(part) == _COLUMNS and part[3] == _ACCEPTS]
    return [Path(path) for path in dict.fromkeys(paths) if path.startswith("/") and path.endswith(_NAMED)]


def place_of(path: Path, daemon: DaemonSettings, control: ControlSettings) -> Path | None:
    """The control socket of the daemon that runs on the configuration at `path`, or None if it is turned off.

    By default systemd gives the folder of the socket to the daemon only, so for the installed configuration
    the socket of the installed service is assumed.
    """
    found = control_path(daemon, control)
    is_installed = _is_installed(path) and "path" not in control.model_fields_set
    if is_installed and found is not None and not os.path.exists(found):  # noqa: PTH110 - the same
        return UNDER_SYSTEMD
    return found


def _is_installed(path: Path) -> bool:
    return path.absolute() == Path(SEARCHED[-1])


def ask(path: Path, method: str, target: str, timeout_s: float | None) -> Response:
    """The daemon's answer. Raises `EnvironmentFault` if there is none within `timeout_s` (None: no limit)."""
    with _answer(path, method, target, timeout_s) as answer:
        return Response(answer.status, answer.read(_MAX_ANSWER_BYTES))


def refused(path: Path, answer: Response) -> EnvironmentFault:
    """The error for an answer with an unexpected status code."""
    return EnvironmentFault(f"{escape(str(path))} answered {answer.code}: {escape(answer.lines())[:200]}")


def events(path: Path, target: str, timeout_s: float) -> Iterator[bytes]:
    """Yields the data of each event of a stream, until the daemon ends.

    `timeout_s` limits the wait for each event. Raises `EnvironmentFault` as `ask` does.
    """
    for name, data in named_events(path, target, timeout_s):
        if name:
            yield data


def named_events(
    path: Path,
    target: str,
    timeout_s: float,
    refusal: Callable[[Path, Response], StreamdError] = refused,
) -> Iterator[tuple[str, bytes]]:
    """As `events`, with the name of each event. A comment has neither name nor data.

    `refusal` makes the error of an answer that is no stream.
    """
    with _answer(path, "GET", target, timeout_s) as answer:
        if answer.status != http.client.OK:
            raise refusal(path, Response(answer.status, answer.read(_MAX_ANSWER_BYTES)))
        if answer.headers.get_content_type() != "text/event-stream":
            raise EnvironmentFault(f"{escape(str(path))} sends no events: its program is not this streamd")
        with suppress(http.client.IncompleteRead, ConnectionError):  # the daemon has ended
            name = ""
            while line := answer.readline(_MAX_ANSWER_BYTES):
                if line.startswith(_EVENT):
                    name = line.removeprefix(_EVENT).decode("ascii", "replace").strip()
                elif line.startswith(_DATA):
                    yield name, line.removeprefix(_DATA)
                elif line.startswith(_COMMENT):
                    yield "", b""


@contextmanager
def _answer(
    path: Path, method: str, target: str, timeout_s: float | None
) -> Iterator[http.client.HTTPResponse]:
    connection = _Connection(path, timeout_s)
    shown = escape(str(path))
    try:
        connection.request(method, target)
        yield connection.getresponse()
    except TimeoutError as error:
        raise EnvironmentFault(
            f"no answer from {shown} within {timeout_s:.0f} s: the daemon hangs, or a python step that runs"
            " inline keeps it busy"
        ) from error
    except PermissionError as error:
        raise EnvironmentFault(
            f"this user may not use {shown}: join its group, or run the command as its user"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = escape(getattr(error, "strerror", None) or str(error)) or type(error).__name__
        raise EnvironmentFault(
            f"no daemon answers at {shown} ({reason}); is it running? --socket names another socket"
        ) from error
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the Unix socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(short(self._path)))
