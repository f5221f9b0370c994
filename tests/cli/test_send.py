import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamd.cli import main
from streamd.plant import Plant, SensorFault
from streamd.sensors import SensorStream


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        yield listening


@pytest.fixture
def datagrams() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiving:
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiving.bind(("127.0.0.1", 0))
        receiving.settimeout(20)
        yield receiving


def to(listening: socket.socket) -> list[str]:
    return ["--to", f"127.0.0.1:{listening.getsockname()[1]}"]


def received_by(listening: socket.socket, connections: int = 1) -> list[bytes]:
    lines: list[bytes] = []
    for _ in range(connections):
        peer, _ = listening.accept()
        with peer, peer.makefile("rb") as stream:
            lines += stream.read().split(b"\n")[:-1]
    return lines


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "streamd", "send", *arguments],
        text=True,
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_a_file_over_tcp(listener: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"a\r\n\nb\nlast")
    assert main(["send", str(file), *to(listener)]) == 0
    assert received_by(listener) == [b"a", b"b", b"last"]
    printed = capsys.readouterr()
    assert printed.out.startswith("sent 3 records (9 bytes) in ")
    assert printed.err == ""


def test_a_generated_stream_over_udp_is_exact(datagrams: socket.socket) -> None:
    assert main(["send", "--generate", "--count=1500", "--seed=9", "--sensors=7", "--protocol=udp",
                 "--rate=50000", "--quiet", *to(datagrams)]) == 0  # fmt: skip
    assert [datagrams.recv(2000) for _ in range(1500)] == SensorStream(9, 7).lines(1500)


def test_the_word_after_generate_may_be_the_url(listener: socket.socket) -> None:
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    assert main(["send", "--generate", url, "--count=3", "--quiet"]) == 0
    assert received_by(listener) == SensorStream().lines(3)


def test_a_plant_is_sent_to_its_end_and_its_faults_are_told(
    listener: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--generate", "plant", "--seed=5", "--sensors=7", "--minutes=40", *to(listener)]
    assert main(["send", *options, f"--faults={tmp_path / 'faults'}"]) == 0
    plant = Plant(5, 7, minutes=40)
    lines = plant.lines(10**6)
    assert received_by(listener) == lines
    books = plant.books(len(lines))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"sent {len(lines):,} records (")
    assert printed[1].split() == ["fault", "faults", "readings"]
    assert [tuple(line.split()[:3]) for line in printed[2:]] == [
        (kind, f"{faults:,}", f"{readings:,}") for kind, (faults, readings) in books.items()
    ]
    listed = [json.loads(line) for line in (tmp_path / "faults").read_text().splitlines()]
    assert [SensorFault(**fault) for fault in listed] == plant.faults(len(lines))

    assert main(["send", *options, "--json"]) == 0
    received_by(listener)
    assert json.loads(capsys.readouterr().out)["faults"] == {
        kind: {"faults": faults, "readings": readings} for kind, (faults, readings) in books.items()
    }


def test_of_a_plant_that_is_interrupted_the_faults_of_what_was_sent_are_listed(
    listener: socket.socket, tmp_path: Path
) -> None:
    process = start(
        "--generate", "plant", "--rate=1000", "--json", f"--faults={tmp_path / 'faults'}", *to(listener)
    )
    with process:
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as stream:
            for _ in range(300):
                stream.readline()
            process.send_signal(signal.SIGINT)
            sent = 300 + stream.read().count(b"\n")
        summary = json.loads(process.communicate()[0])
        assert process.returncode == 130
    plant = Plant()
    plant.lines(sent)
    assert summary["records"] == sent < 4000
    books = plant.books(sent)
    assert {kind: one["faults"] for kind, one in summary["faults"].items()} == {
        k: n for k, (n, _) in books.items()
    }
    listed = [json.loads(line) for line in (tmp_path / "faults").read_text().splitlines()]
    assert [fault["line"] for fault in listed] == [fault.line for fault in plant.faults(sent)]


@pytest.mark.parametrize("file", ["/nowhere/faults", "/dev/full"])
def test_a_list_of_faults_that_cannot_be_written_is_one_line(
    file: str, listener: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", "--generate", "plant", "--minutes=10", f"--faults={file}", *to(listener)]) == 1
    error = capfd.readouterr().err
    assert error.startswith(f"streamd: cannot write {file}: ")
    assert error.count("\n") == 1


def test_several_connections_share_one_gap_free_stream(
    listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", "--generate", "--count=4500", "--connections=3", "--json", *to(listener)]) == 0
    assert sorted(json.loads(line)["seq"] for line in received_by(listener, 3)) == list(range(1, 4501))
    summary = json.loads(capsys.readouterr().out)
    assert summary["records"] == 4500
    assert summary["error"] is None


def test_octet_counting(listener: socket.socket, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"abc\n\xe6\x95\xb0\n")
    assert main(["send", str(file), "--framing=octet_counting", *to(listener)]) == 0
    peer, _ = listener.accept()
    with peer:
        assert peer.recv(100) == b"3 abc3 \xe6\x95\xb0"


def test_standard_input_is_sent_while_it_comes(listener: socket.socket) -> None:
    process = start(*to(listener), stdin=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        process.stdin.write("one\n")
        process.stdin.flush()
        peer, _ = listener.accept()
        with peer:
            assert peer.recv(100) == b"one\n"
            process.stdin.write("two")
            process.stdin.close()
            assert peer.recv(100) == b"two\n"
        assert process.wait() == 0


def test_count_ends_an_endless_input(listener: socket.socket) -> None:
    with Path("/dev/urandom").open("rb") as noise:
        process = start("--count=5000", *to(listener), stdin=noise)
    with process:
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as stream:
            assert stream.read().count(b"\n") == 5000
        assert process.wait() == 0


def test_rate_is_kept(listener: socket.socket, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "--generate", "--count=1000", "--rate=2000", "--json", *to(listener)]) == 0
    seconds = json.loads(capsys.readouterr().out)["seconds"]
    assert seconds >= 0.49  # how late it may be is the machine's affair, how early is ours


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_closed_port_is_one_line_and_exit_code_1(protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        arguments = to(closed)
    assert main(["send", "--generate", "--count=3", "--protocol", protocol, "--json", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert f"{protocol} to {arguments[1]}: Connection refused: nothing listens there; sent " in printed.err
    assert "Connection refused" in json.loads(printed.out)["error"]


def test_a_reset_tells_how_much_was_sent(listener: socket.socket) -> None:
    process = start("--generate", "--json", *to(listener))
    with process:
        peer, _ = listener.accept()
        peer.recv(10)
        peer.close()  # with unread data: a reset
        out, err = process.communicate()
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert "Connection reset by peer" in err or "Broken pipe" in err
    summary = json.loads(out)
    assert summary["records"] > 0
    assert f"sent {summary['records']:,} records" in err


def test_a_line_no_datagram_can_hold_is_refused_with_its_size(
    datagrams: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"fits\n" + b"x" * 65508 + b"\nnever sent\n")
    assert main(["send", str(file), "--protocol=udp", *to(datagrams)]) == 1
    printed = capsys.readouterr()
    assert "a record of 65508 bytes does not fit into a datagram" in printed.err
    assert "sent 1 record (" in printed.err
    assert datagrams.recv(100) == b"fits"


@pytest.mark.parametrize("wait", ["reading", "sending", "pacing"])
def test_ctrl_c_says_what_was_sent_whatever_it_waits_for(listener: socket.socket, wait: str) -> None:
    arguments = {"reading": [], "sending": ["--generate"], "pacing": ["--generate", "--rate=1"]}[wait]
    process = start(*arguments, "--json", *to(listener), stdin=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        if wait == "reading":
            process.stdin.write("one\n")
            process.stdin.flush()
        peer, _ = listener.accept()
        with peer:
            first = peer.recv(1)
            process.send_signal(signal.SIGINT)
            with peer.makefile("rb") as stream:
                received = (first + stream.read()).count(b"\n")
        out, err = process.communicate()
    assert process.returncode == 130
    assert "interrupted; sent" in err
    assert json.loads(out)["records"] == received > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to=127.0.0.1"], "an address is host:port"),
        (["--to=127.0.0.1:99999"], "an address is host:port"),
        (["--rate=0"], "a whole number from 1"),
        (["--rate=-5"], "a whole number from 1"),
        (["--count=1e6"], "a whole number from 1"),
        (["--connections=0"], "a whole number from 1"),
        (["--protocol=sctp"], "invalid choice"),
        (["--generate", "file"], "not both"),
        (["--generate", "plants"], 'not both: plants (did you mean "plant"?)'),
        (["--generate", "plant", "file"], "not both: file"),
        (["--seed=1"], "belong to --generate"),
        (["--minutes=60"], "belong to --generate plant"),
        (["--generate", "--faults=out"], "belong to --generate plant"),
        (["--generate", "plant", "--minutes=9"], "a whole number from 10"),
        (["--generate", "plant", "--count=9"], "--minutes instead of --count"),
        (["--generate", "plant", "--connections=2"], "the order"),
        (["--generate", "plant", "--sensors=10001"], "at most 10,000 sensors"),
        (["--protocol=udp", "--framing=newline"], "belongs to tcp"),
    ],
)
def test_wrong_use_is_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["send", *arguments])
    except SystemExit as wrong_use:  # argparse
        code = int(wrong_use.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("file", ["/nowhere/at/all", "/"])
def test_input_that_cannot_be_read_is_one_line(
    file: str, listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", file, *to(listener)]) == 1
    err = capsys.readouterr().err
    assert "cannot read" in err
    assert err.count("\n") == 1


def test_an_unknown_host_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "--generate", "--to=no-such-host.invalid:1"]) == 1
    assert capsys.readouterr().err.startswith("streamd: tcp to no-such-host.invalid:1: ")


def test_a_terminal_gets_a_progress_bar(listener: socket.socket) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "streamd", "send", "--generate", "--count=400", "--rate=1000", *to(listener)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(terminal)
    shown = b""
    with process, open(master, "rb", buffering=0) as screen:  # noqa: PTH123 - a descriptor
        try:
            while block := screen.read(4096):
                shown += block
        except OSError:  # how Linux says that the last one has closed the terminal
            pass
        assert process.wait() == 0
    assert b"records" in shown
    assert b"/s" in shown


def url(listening: socket.socket, scheme: str) -> str:
    return f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["tcp", "TCP"])
def test_a_url_says_where_to_send_before_or_behind_the_file(
    scheme: str, listener: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"a\nb\n")
    for words in ([url(listener, scheme), str(file)], [str(file), url(listener, scheme) + "/"]):
        assert main(["send", *words]) == 0
        assert received_by(listener) == [b"a", b"b"]
    assert main(["send", str(file), "--to", url(listener, scheme), "--json"]) == 0
    assert received_by(listener) == [b"a", b"b"]
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["protocol"], summary["to"]) == ("tcp", url(listener, "").removeprefix("://"))


def test_lines_of_standard_input_are_one_datagram_each(datagrams: socket.socket) -> None:
    process = start(url(datagrams, "udp"), stdin=subprocess.PIPE)
    out, err = process.communicate("one\ntwo\n", timeout=20)
    assert (process.returncode, out[:14], err) == (0, "sent 2 records", "")
    assert [datagrams.recv(100), datagrams.recv(100)] == [b"one", b"two"]


def test_ipv6_is_written_in_brackets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"six\n")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiving:
        receiving.bind(("::1", 0))
        receiving.settimeout(20)
        port = receiving.getsockname()[1]
        assert main(["send", str(file), f"udp://[::1]:{port}"]) == 0
        assert receiving.recv(100) == b"six"
    assert main(["send", str(file), f"udp://::1:{port}"]) == 2
    assert "[::1]:" in capsys.readouterr().err


def test_a_unix_socket_takes_a_stream_or_datagrams_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"a\nb\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "stream.sock"))
        listening.listen()
        listening.settimeout(20)
        process = start(str(file), f"unix://{tmp_path}/stream.sock")
        assert received_by(listening) == [b"a", b"b"]
        assert process.wait(20) == 0
        process.communicate()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "datagram.sock"))
        receiving.settimeout(20)
        assert main(["send", str(file), f"unix://{tmp_path}/datagram.sock"]) == 0
        assert [receiving.recv(100), receiving.recv(100)] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["http://x:1"],
            "there is no http://; send accepts udp://HOST:PORT, tcp://HOST:PORT and unix:///PATH",
        ),
        (["tls://x:1"], "send has no TLS"),
        (["udp://127.0.0.1"], "an address is host:port"),
        (["unix://"], "a unix socket is a path"),
        (["udp://[::1]:1", "tcp://[::1]:1"], "one receiver, not 2"),
        (["udp://[::1]:1", "--protocol", "tcp"], "leave out --to and --protocol"),
        (["udp://[::1]:1", "--to", "[::1]:2"], "leave out --to and --protocol"),
        (["a", "b"], "one FILE can be sent, not 2"),
    ],
)
def test_a_wrong_receiver_is_said_and_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", *words]) == 2
    assert said in capsys.readouterr().err


def test_an_address_without_a_scheme_is_answered_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "127.0.0.1:9999"]) == 1
    assert "write udp://127.0.0.1:9999 or tcp://127.0.0.1:9999" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("format_", "framing", "sent"),
    [
        ("json", [], b'{"message":"disk full"}\n{"n":1}\n'),
        ("logfmt", [], b'message="disk full"\nn=1\n'),
        ("json", ["--framing", "octet_counting"], b'23 {"message":"disk full"}7 {"n":1}'),
        ('{ type = "csv", columns = ["n", "message"] }', [], b"n,message\r\n,disk full\r\n1,\r\n"),
    ],
)
def test_lines_are_sent_as_records_of_another_format(
    format_: str,
    framing: list[str],
    sent: bytes,
    listener: socket.socket,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "lines").write_text('disk full\n{"n": 1}\n')
    assert main(["send", *to(listener), "--as", format_, *framing, "--json", str(tmp_path / "lines")]) == 0
    peer, _ = listener.accept()
    with peer, peer.makefile("rb") as stream:
        assert stream.read() == sent
    summary = json.loads(capsys.readouterr().out)
    assert (summary["records"], summary["bytes"], summary["refused"]) == (2, len(sent), 0)


def test_lines_are_sent_as_datagrams_of_syslog(datagrams: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text('one\n{"message": "two", "appname": "app", "severity": "err"}\n')
    as_local = '{ type = "syslog", facility = "local0" }'
    assert main(["send", *to(datagrams), "--protocol", "udp", "--as", as_local, str(tmp_path / "lines")]) == 0
    first, second = (datagrams.recv(65536).decode().split(" ") for _ in range(2))
    assert [first[0], *first[2:]] == ["<133>1", socket.gethostname(), "-", "-", "-", "-", "one"]
    assert [second[0], *second[3:]] == ["<131>1", "app", "-", "-", "-", "two"]


def test_a_message_that_needs_a_host_has_the_name_of_this_one(
    datagrams: socket.socket, tmp_path: Path
) -> None:
    (tmp_path / "lines").write_text("one\n")
    assert main(["send", *to(datagrams), "--protocol", "udp", "--as", "gelf", str(tmp_path / "lines")]) == 0
    assert json.loads(datagrams.recv(65536))["host"] == socket.gethostname()


def test_a_datagram_has_the_header_of_its_row(datagrams: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text('{"n": 1}\n{"n": 2}\n')
    as_csv = '{ type = "csv", columns = ["n"] }'
    assert main(["send", *to(datagrams), "--protocol", "udp", "--as", as_csv, str(tmp_path / "lines")]) == 0
    assert [datagrams.recv(65536) for _ in range(2)] == [b"n\r\n1", b"n\r\n2"]


def test_a_record_that_the_format_cannot_express_is_named_and_the_others_are_sent(
    listener: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lines").write_bytes(b'{"a b": 1}\n{"n": 1}\n\xff\n')
    assert main(["send", *to(listener), "--as", "logfmt", str(tmp_path / "lines")]) == 1
    assert received_by(listener) == [b"n=1"]
    out, err = capsys.readouterr()
    assert out.startswith("sent 1 record (4 bytes)")
    assert "2 records not sent; the first: " in err


@pytest.mark.parametrize(
    ("format_", "said"),
    [
        ("sylog", '--as: type: there is no "sylog" among the encoders (did you mean "syslog"?)'),
        ("csv", "--as: columns"),
        ("{ type = ", "--as: no table of TOML"),
        ("{ columns = 5 }", "--as: the table needs type"),
    ],
)
def test_a_format_that_cannot_be_meant_is_refused(
    format_: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", "--to", "127.0.0.1:9", "--as", format_, "-"]) == 2
    assert said in capsys.readouterr().err
