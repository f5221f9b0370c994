"""`streamd send`: sends a file, standard input or generated readings over UDP, TCP or a unix socket."""

import argparse
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING

from streamd.cli import _generated
from streamd.cli._generated import between
from streamd.cli._target import Target, is_url, target
from streamd.client.connection import Connection, TcpConnection, UdpConnection
from streamd.client.line_reader import read_lines
from streamd.client.stop import Stop, Stopped
from streamd.client.transfer import finish, transfer
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.plural import counted
from streamd.core.printable import escape
from streamd.core.regular_file import open_regular
from streamd.core.settings import parse_address
from streamd.plant import Plant
from streamd.sensors import LINES_A_SECOND, SensorStream

if TYPE_CHECKING:
    from streamd.cli._encoded import RecordEncoding

DEFAULT_TO = "127.0.0.1:9999"
_REDRAW_S = 0.1


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = "One line is one record. Empty lines are skipped. Ctrl-C ends it and prints the summary."
    parser.add_argument("words", nargs="*", metavar="URL|FILE",
                        help="receiver: udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH;"
                        " lines to send: a file, - or nothing for standard input")  # fmt: skip
    _generated.add(parser)
    parser.add_argument("--to", metavar="HOST:PORT", help="receiver (default 127.0.0.1:9999)")
    parser.add_argument("--protocol", choices=("udp", "tcp"), help="default tcp")
    parser.add_argument("--as", dest="encoder", metavar="FORMAT",
                        help="send records in this format: json, csv, logfmt, syslog and so on, or a table"
                        " like '{ type = \"syslog\", facility = \"local0\" }'. A line that is a JSON"
                        " object gives the fields of a record, another line its message")  # fmt: skip
    parser.add_argument("--framing", choices=("newline", "octet_counting"),
                        help="framing of a stream (default newline)")  # fmt: skip
    parser.add_argument("--connections", type=between(1, 10_000), default=1, metavar="N",
                        help="sockets to send from, in turn (default 1)")  # fmt: skip
    parser.add_argument("--rate", type=between(1, 10**9), metavar="N",
                        help="records a second (default: no limit)")  # fmt: skip
    parser.add_argument("--count", type=between(1, 10**15), metavar="N", help="send at most N records")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def main(options: argparse.Namespace) -> int:
    """Send. Returns 0 if everything was sent, 1 if the receiver or the input failed, 130 if interrupted."""
    _generated.read_word(options)
    _read_words(options)
    _refuse_contradictions(options)
    encoding = _encoding(options)
    code, trouble, seconds, plant = 0, "", None, _generated.plant(options)
    connections: list[Connection] = []
    with ExitStack() as cleanup:
        stop = cleanup.enter_context(Stop())
        if plant is not None and options.faults is not None:
            _generated.write_faults(options.faults, plant, 0)  # a file that cannot be written ends it here
        batches, size_bytes = _batches(options, plant, stop, cleanup)
        if encoding is not None:
            batches, size_bytes = encoding.of(batches), None
        started_at, started_s = time.time(), time.monotonic()
        try:
            for _ in range(options.connections):
                connections.append(_connect(options, stop, encoding))
                cleanup.callback(connections[-1].close)
                if encoding is not None:
                    encoding.begin(connections[-1])
            started_at, started_s = time.time(), time.monotonic()
            draw = _progress(options, connections, size_bytes, cleanup)
            transfer(batches, connections, stop, rate=options.rate, count=options.count, progress=draw)
            seconds = time.monotonic() - started_s
            finish(connections)
        except Stopped:
            code, trouble = 130, "interrupted"
        except EnvironmentFault as fault:
            code, trouble = 1, str(fault)
        except OSError as error:
            code, trouble = 1, _explain(error, options)
        seconds = time.monotonic() - started_s if seconds is None else seconds
    if plant is not None and options.faults is not None:
        sent_records = sum(connection.sent_records for connection in connections)
        _generated.write_faults(options.faults, plant, sent_records)
    refused = 0 if encoding is None else encoding.refused
    _report(options, plant, connections, started_at, seconds, trouble, refused)
    if encoding is not None and encoding.refused:
        print(f"streamd: {encoding.trouble}", file=sys.stderr)
        code = code or 1
    return code


def _read_words(options: argparse.Namespace) -> None:
    """Set `target` and `file` from the words of the command line. Raises `ConfigError`."""
    urls = [word for word in options.words if is_url(word)]
    files = [word for word in options.words if not is_url(word)]
    if options.to is not None and is_url(options.to):
        urls.append(options.to)
        options.to = None
    if len(files) > 1:
        raise ConfigError(f"one FILE can be sent, not {len(files)}: {escape(' '.join(files))}")
    if len(urls) > 1:
        raise ConfigError(f"there can be one receiver, not {len(urls)}: {escape(' '.join(urls))}")
    options.file = files[0] if files else None
    if urls:
        options.target = target(urls[0])
        if options.to is not None or options.protocol not in (None, options.target.protocol):
            raise ConfigError(f"{escape(urls[0])} names the receiver; leave out --to and --protocol")
        return
    try:
        address = parse_address(options.to or DEFAULT_TO)
    except ValueError as error:
        raise ConfigError(f"--to: {error}") from None
    options.target = Target(options.protocol or "tcp", address)


def _refuse_contradictions(options: argparse.Namespace) -> None:
    _generated.refuse_contradictions(options)
    if options.target.protocol == "udp" and options.framing:
        raise ConfigError("--framing belongs to tcp and unix streams: a datagram is one record")


def _batches(
    options: argparse.Namespace, plant: Plant | None, stop: Stop, cleanup: ExitStack
) -> tuple[Iterator[list[bytes]], int | None]:
    """The batches of lines to send, and their total size in bytes if it is known."""
    if plant is not None:
        return iter(partial(plant.lines, LINES_A_SECOND), []), None
    if options.generate:
        stream = SensorStream(options.seed or 0, options.sensors or 1000)
        return map(stream.lines, repeat(LINES_A_SECOND)), None
    if options.file in (None, "-"):
        return read_lines(0 if sys.stdin is None else sys.stdin.fileno(), stop), None
    try:
        file = cleanup.enter_context(open_regular(options.file))
    except OSError as error:
        meant = _meant_as_url(options.file)
        raise EnvironmentFault(f"cannot read {escape(options.file)}: {error.strerror}{meant}") from error
    return read_lines(file.fileno(), stop), os.fstat(file.fileno()).st_size or None


def _meant_as_url(file: str) -> str:
    try:
        parse_address(file)
    except ValueError:
        return ""
    return f"; to send there, write udp://{escape(file)} or tcp://{escape(file)}"


def _encoding(options: argparse.Namespace) -> "RecordEncoding | None":
    """The format that `--as` names; None without it. Raises `ConfigError`."""
    if options.encoder is None:
        return None
    from streamd.cli import _encoded  # noqa: PLC0415 - lines alone need no configuration

    return _encoded.encoding(options)


def _connect(options: argparse.Namespace, stop: Stop, encoding: "RecordEncoding | None") -> Connection:
    protocol, to = options.target
    if protocol == "udp":
        return UdpConnection(to, stop)
    try:
        return TcpConnection(to, stop, (options.framing or "newline") if encoding is None else "none")
    except OSError as error:
        if error.errno != errno.EPROTOTYPE or options.framing:
            raise
        return UdpConnection(to, stop)  # a unix datagram socket


def _explain(error: OSError, options: argparse.Namespace) -> str:
    reason = error.strerror or str(error)
    if error.errno == errno.ECONNREFUSED:
        reason += ": nothing listens there"
    return f"{options.target}: {reason}"


def _progress(
    options: argparse.Namespace, connections: list[Connection], size_bytes: int | None, cleanup: ExitStack
) -> Callable[[], None]:
    """A progress bar, on a terminal only."""
    if options.quiet or not sys.stderr.isatty():
        return lambda: None
    from rich import progress as bars  # noqa: PLC0415 - 50 ms that only a terminal needs
    from rich.console import Console  # noqa: PLC0415

    total = options.count if options.count or options.generate else size_bytes
    by_records = bool(options.count or options.generate)
    bar = cleanup.enter_context(
        bars.Progress(
            bars.TextColumn("{task.fields[records]:,} records"),
            bars.BarColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("{task.fields[rate]:,.0f}/s"),
            console=Console(stderr=True),
            transient=True,
        )
    )
    task = bar.add_task("", total=total, records=0, rate=0.0)
    started_s = drawn_s = time.monotonic()

    def draw() -> None:
        nonlocal drawn_s
        now_s = time.monotonic()
        if now_s - drawn_s < _REDRAW_S:
            return
        drawn_s = now_s
        records = sum(connection.sent_records for connection in connections)
        done = records if by_records else sum(connection.sent_bytes for connection in connections)
        bar.update(task, completed=done, records=records, rate=records / (now_s - started_s))

    return draw


def _report(
    options: argparse.Namespace,
    plant: Plant | None,
    connections: list[Connection],
    started_at: float,
    seconds: float,
    trouble: str,
    refused: int,
) -> None:
    records = sum(connection.sent_records for connection in connections)
    size_bytes = sum(connection.sent_bytes for connection in connections)
    rate = records / seconds if seconds else 0.0
    sent = f"{counted(records, 'record')} ({counted(size_bytes, 'byte')}) in {seconds:.2f} s, {rate:,.0f}/s"
    if trouble:
        print(f"streamd: {trouble}; sent {sent}", file=sys.stderr)
    if options.json:
        protocol, to = options.target
        summary = {
            "records": records, "bytes": size_bytes, "seconds": round(seconds, 6), "rate": round(rate, 1),
            "started_at": round(started_at, 6), "to": str(to), "protocol": protocol,
            "error": trouble or None,
        }  # fmt: skip
        if options.encoder is not None:
            summary["refused"] = refused
        if plant is not None:
            summary["faults"] = _generated.faults_document(plant, records)
        print(json.dumps(summary))
    elif not (trouble or options.quiet):
        print(f"sent {sent}")
        if plant is not None:
            print("\n".join(_generated.faults_table(plant, records)))
