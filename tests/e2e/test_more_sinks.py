"""The sinks stdout, file and tcp with real daemons: nothing lost, nothing twice, and nobody stalled."""

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HEAD = """
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "0.5s"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:PORT"
codec = "json"
"""


def configured(*sinks: str, port: int = 0, more: str = "") -> str:
    """One pipeline from a TCP source to these sinks, each the text of its table."""
    names = ", ".join(f'"s{number}"' for number in range(len(sinks)))
    text = HEAD.replace("PORT", str(port)) + more
    text += f'[pipelines.main]\nsources = ["floor"]\nsinks = [{names}]\n'
    for number, sink in enumerate(sinks):
        text += f"[sinks.s{number}]\n{sink}\n"
    return text


def lines(count: int, start: int = 0, fill: int = 50) -> bytes:
    return b"".join(b'{"seq":%d,"fill":"%s"}\n' % (n, b"x" * fill) for n in range(start, start + count))


def in_files(folder: Path, stem: str) -> list[int]:
    """The numbers in all files of a sink, compressed ones too, in the order they were written."""
    found: list[int] = []
    paths = sorted(folder.glob(f"{stem}*"), key=lambda path: (path.name == stem, path.name))
    for path in paths:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found += [json.loads(line)["seq"] for line in data.splitlines()]
    return found


def noted(daemon: Any, counter: str) -> int:
    rows = daemon.query(f"SELECT sum(n) FROM ledger WHERE counter = '{counter}' AND source = ''")  # noqa: S608
    return rows[0][0] or 0


def test_rotation_under_load_loses_nothing_and_keeps_the_order(start: Any, tmp_path: Path) -> None:
    sink = 'type = "file"\npath = "out.ndjson"\nmax_size = "256KiB"\ngzip = true\nbatch.max_records = 500'
    daemon = start(configured(sink))
    daemon.tcp(lines(30_000))
    daemon.stop()
    assert in_files(tmp_path / "var", "out.ndjson") == list(range(30_000))
    assert daemon.books()["floor", "main", "s0", "stored"] == 30_000
    assert noted(daemon, "files_rotated") >= 5
    assert not list((tmp_path / "var").glob("*.tmp"))


def test_a_kill_in_the_middle_leaves_whole_lines_after_the_next_start(
    start: Any, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    config = configured('type = "file"\npath = "out.ndjson"\nsynchronous = "full"')
    daemon = start(config)
    out = tmp_path / "var" / "out.ndjson"
    with socket.create_connection(daemon.address("floor")) as sender:
        sender.sendall(lines(5000))
        wait_until(lambda: out.stat().st_size > 0, "the first lines")
        daemon.process.kill()
        daemon.process.wait()
    with out.open("ab") as file:  # what a power cut leaves of a write under way
        file.write(b'{"seq":4711,"fi')
    torn_bytes = len(out.read_bytes().rpartition(b"\n")[2])  # more than that where the kill hit a write
    daemon = start(config)
    daemon.tcp(lines(10, start=100_000))
    daemon.stop()
    there = in_files(tmp_path / "var", "out.ndjson")
    before = [seq for seq in there if seq < 100_000]
    assert before == list(range(len(before)))
    assert there == before + list(range(100_000, 100_010))
    (cut,) = daemon.events("torn_line_cut")
    assert cut["cut_bytes"] == noted(daemon, "torn_bytes") == torn_bytes


class Printing:
    """A daemon whose standard output is a pipe that `reader` reads."""

    def __init__(self, start: Any, folder: Path, config: str) -> None:
        os.mkfifo(folder / "pipe")
        self.daemon = start(config, "sh", "-c", 'exec "$@" > pipe', "sh", ready=False)
        self.reader = (folder / "pipe").open("rb")
        self.daemon.wait_ready()


@pytest.fixture
def start_printing(tmp_path: Path, start: Any) -> Iterator[Callable[[str], Printing]]:
    made: list[Printing] = []

    def begin(config: str) -> Printing:
        made.append(Printing(start, tmp_path, config))
        return made[-1]

    yield begin
    for each in made:
        each.reader.close()


SQLITE = 'type = "sqlite"\npath = "streamd.db"'


def test_standard_output_holds_the_records_and_nothing_else(start: Any, tmp_path: Path) -> None:
    daemon = start(configured('type = "stdout"'), "sh", "-c", 'exec "$@" > printed', "sh")
    daemon.tcp(lines(5000))
    daemon.stop()
    printed_lines = (tmp_path / "printed").read_bytes().splitlines()
    assert [json.loads(line)["seq"] for line in printed_lines] == list(range(5000))


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ("", "def step(record):"),
        (', executor = "thread"', "def step(record):"),
        (', executor = "process"', "def step(record):"),
        ("", "async def step(record):"),
    ],
)
def test_what_a_step_prints_is_no_record(start: Any, tmp_path: Path, options: str, head: str) -> None:
    (tmp_path / "steps.py").write_text(
        "import os, sys\nfrom sys import stdout\n"
        f"print('an import', flush=True)\n{head}\n"
        "    print('a step', flush=True)\n"
        "    print('buffered')\n"
        "    stdout.write('kept from the import')\n"
        "    os.write(1, b'a descriptor\\n')\n"
        "    os.system('echo a program')\n"
        "    return record\n"
    )
    step = f'steps = [{{ type = "python", function = "steps.py:step"{options} }}]\n'
    config = configured('type = "stdout"').replace('sinks = ["s0"]\n', 'sinks = ["s0"]\n' + step)
    daemon = start(config, "sh", "-c", 'exec "$@" > printed', "sh")
    daemon.tcp(lines(20))
    daemon.stop()
    printed_lines = (tmp_path / "printed").read_bytes().splitlines()
    assert [json.loads(line)["seq"] for line in printed_lines] == list(range(20))
    for said in ("an import", "a step", "buffered", "kept from the import", "a descriptor", "a program"):
        assert said in daemon.stderr


def test_with_the_other_standard_streams_closed_the_records_are_printed_all_the_same(
    start: Any, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "steps.py").write_text("def step(record):\n    print('a step')\n    return record\n")
    config = '[sources.made]\ntype = "generate"\ncount = 20\nrate = 1000\n'
    config += '[pipelines.main]\nsources = ["made"]\nsinks = ["out"]\n'
    config += 'steps = [{ type = "python", function = "steps.py:step" }]\n[sinks.out]\ntype = "stdout"\n'
    daemon = start(config, "sh", "-c", 'exec "$@" > printed <&- 2>&-', "sh", ready=False)
    printed = tmp_path / "printed"
    wait_until(lambda: printed.exists() and printed.read_bytes().count(b"\n") == 20, "the records")
    daemon.process.terminate()
    assert daemon.process.wait(60) == 0
    assert [json.loads(line)["seq"] for line in printed.read_bytes().splitlines()] == list(range(1, 21))


def test_piped_through_head_the_other_sinks_go_on_and_the_loss_is_named(start_printing: Any) -> None:
    printing = start_printing(configured('type = "stdout"', SQLITE))
    daemon = printing.daemon
    daemon.tcp(lines(100))
    assert json.loads(printing.reader.readline())["seq"] == 0
    printing.reader.close()
    daemon.tcp(lines(10_000, start=100))
    daemon.wait_rows(10_100)
    daemon.stop()
    books = daemon.books()
    printed, dropped = (books["floor", "main", "s0", counter] for counter in ("stored", "dropped"))
    assert printed + dropped == 10_100
    assert dropped >= 10_000
    assert daemon.reasons("dropped") == {"closed": dropped}
    assert len(daemon.events("stdout_closed")) == 1
    assert "Traceback" not in daemon.stderr


def test_a_reader_of_standard_output_that_sleeps_costs_by_policy_and_stalls_no_other_sink(
    start_printing: Any,
) -> None:
    sleeping = 'type = "stdout"\nbuffer = { max_records = 1000, when_full = "drop_newest" }'
    daemon = start_printing(configured(sleeping, SQLITE, more='[daemon]\ndrain_timeout = "1s"\n')).daemon
    daemon.tcp(lines(20_000))
    daemon.wait_rows(20_000)
    daemon.stop(expect=1)
    books = daemon.books()
    assert books["floor", "main", "s1", "stored"] == 20_000
    reasons = daemon.reasons("dropped")
    assert set(reasons) == {"buffer_full", "shutdown"}
    assert books["floor", "main", "s0", "stored"] + sum(reasons.values()) == 20_000


def to(port: int, more: str = "", framing: str = "newline") -> str:
    return (
        f'type = "tcp"\naddress = "127.0.0.1:{port}"\nframing = "{framing}"\nconfirm_every = "200ms"\n{more}'
    )


def a_second(framing: str, port: int = 0) -> str:
    return configured(SQLITE, port=port).replace("codec", f'framing = "{framing}"\ncodec')


@pytest.mark.parametrize("framing", ["newline", "octet_counting"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_two_daemons_in_a_chain_with_the_second_restarted_lose_no_more_than_is_named(
    how: signal.Signals, framing: str, start_in: Any, wait_until: Callable[..., Any]
) -> None:
    second = start_in("second", a_second(framing))
    port = second.address("floor")[1]
    small = "batch = { max_records = 200, max_wait = '5ms' }"
    first = start_in("first", configured(to(port, small, framing)))
    total = 100_000
    sending = threading.Thread(target=first.tcp, args=(lines(total),), daemon=True)
    sending.start()
    second.wait_rows(1000)
    second.process.send_signal(how)
    code = second.process.wait(60)
    if how == signal.SIGTERM:
        assert code == 0
        second.assert_balanced()
    second = start_in("second", a_second(framing, port))
    sending.join(60)
    first.tcp(lines(1, start=total))  # all before it may have been on its way when the second ended
    wait_until(lambda: second.query("SELECT max(record ->> 'seq') FROM records")[0][0] == total, "the last")
    first.stop()
    second.stop()
    seqs = [row[0] for row in second.query("SELECT record ->> 'seq' FROM records")]
    stored = first.books()["floor", "main", "s0", "stored"]
    unconfirmed = noted(first, "unconfirmed")
    assert stored == total + 1
    assert len(seqs) == len(set(seqs))
    assert (f"sink s0: of stored, {unconfirmed:,} unconfirmed\n" in first.stderr) == (unconfirmed > 0)
    lost = stored - len(seqs)
    if how == signal.SIGTERM:
        assert 0 <= lost <= unconfirmed <= total
    else:  # what the second had read and not committed went with it, and its next run says so
        assert 0 <= lost < total
        assert second.query("SELECT count(*) FROM ledger WHERE counter = 'unclean'") == [(1,)]


def test_a_chain_that_ends_in_order_loses_nothing_and_says_so(start_in: Any) -> None:
    second = start_in("second", a_second("newline"))
    first = start_in("first", configured(to(second.address("floor")[1])))
    first.tcp(lines(20_000))
    first.stop()
    second.wait_rows(20_000)
    second.stop()
    assert noted(first, "unconfirmed") == 0
    assert "unconfirmed" not in first.stderr
    assert second.books()["floor", "", "", "received"] == 20_000


def test_a_receiver_that_is_down_or_never_reads_stalls_no_other_sink(start: Any) -> None:
    dropping = 'buffer = { max_records = 1000, when_full = "drop_oldest" }'
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as gone:
        ports = [listener.getsockname()[1] for listener in (silent, gone)]
        gone.close()
        more = '[daemon]\ndrain_timeout = "1s"\n'
        daemon = start(configured(to(ports[0], dropping), to(ports[1], dropping), SQLITE, more=more))
        daemon.tcp(lines(30_000, fill=500))
        daemon.wait_rows(30_000)
        daemon.stop(expect=1)
    books = daemon.books()
    assert books["floor", "main", "s2", "stored"] == 30_000
    assert books["floor", "main", "s1", "dropped"] == 30_000
    assert books["floor", "main", "s0", "dropped"] > 0
    assert {event["reason"] for event in daemon.events("sink_retrying")} == {"connect"}
    assert "Traceback" not in daemon.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a mount needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(folder)], check=False).returncode:
        pytest.skip("this system allows no mounts")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_tried_again_and_tears_and_repeats_no_line(
    start: Any, small_disk: Path, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 700_000)
    daemon = start(configured(f'type = "file"\npath = "{small_disk / "out.ndjson"}"'))
    daemon.tcp(lines(10_000))
    wait_until(lambda: {e["reason"] for e in daemon.events("sink_retrying")} == {"disk_full"}, "a full disk")
    data = (small_disk / "out.ndjson").read_bytes()
    assert [json.loads(line)["seq"] for line in data.splitlines()] == list(range(data.count(b"\n")))
    ballast.unlink()
    wait_until(lambda: daemon.events("sink_recovered"), "the sink to go on")
    daemon.stop()
    shutil.copy(small_disk / "out.ndjson", tmp_path)
    assert in_files(tmp_path, "out.ndjson") == list(range(10_000))
