"""What a new user does first: each kind of sender, each way in, one table."""

import json
import shutil
import subprocess
from typing import Any

import pytest


def test_json_text_and_log_lines_over_udp_and_tcp_are_all_in_the_table(start: Any) -> None:
    daemon = start()
    daemon.udp(b'{"sensor":"s-1","value":21.5}\n', "数据".encode(), b"<13>Nov 22 09:00:00 host tag: hello")
    daemon.tcp(b'{"sensor":"s-2","value":22.5}\n' + "数据\n".encode() + b"11 <13>1 hello")
    daemon.wait_rows(6)
    daemon.stop()
    rows = daemon.query("SELECT source, peer, record, received_at FROM records ORDER BY source, id")
    assert [(row[0], json.loads(row[2])) for row in rows] == [
        ("floor", {"sensor": "s-2", "value": 22.5}),
        ("floor", {"message": "数据"}),
        ("floor", {"message": "<13>1 hello"}),
        ("lab", {"sensor": "s-1", "value": 21.5}),
        ("lab", {"message": "数据"}),
        ("lab", {"message": "<13>Nov 22 09:00:00 host tag: hello"}),
    ]
    assert all(row[1].startswith("127.0.0.1:") for row in rows)
    assert all(len(row[3]) == 27 for row in rows)
    books = daemon.books()
    assert books["lab", "main", "records", "stored"] == 3
    assert books["floor", "main", "records", "stored"] == 3


@pytest.mark.skipif(shutil.which("logger") is None, reason="util-linux logger is not installed")
def test_the_logger_of_util_linux_over_udp_and_tcp(start: Any) -> None:
    daemon = start()
    for source, how in (("lab", "-d"), ("floor", "-T")):
        host, port = daemon.address(source)
        subprocess.run(
            ["logger", "-n", host, "-P", str(port), how, f"hello {source}"], check=True, timeout=30
        )
    daemon.wait_rows(2)
    daemon.stop()
    messages = [json.loads(row[0])["message"] for row in daemon.query("SELECT record FROM records")]
    assert sorted(message.rsplit(" ", 2)[1:] for message in messages) == [
        ["hello", "floor"],
        ["hello", "lab"],
    ]
