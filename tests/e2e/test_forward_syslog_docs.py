"""The how-to guide about forwarding leads to a real rsyslog, which writes what was sent."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs/how-to/forward-syslog.md").read_text()
TOML, RECORD, MESSAGE = (
    re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[0] for kind in ("toml", "json", "text")
)
RSYSLOG = """
global(workDirectory="FOLDER" maxMessageSize="64k")
module(load="imtcp")
template(name="fields" type="string" string="<%PRI%>1 %TIMESTAMP:::date-rfc3339% %HOSTNAME% \
%APP-NAME% %PROCID% %MSGID% %STRUCTURED-DATA% %msg%\\n")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="FOLDER/port")
action(type="omfile" file="FOLDER/written" template="fields")
"""


@pytest.fixture
def rsyslog(tmp_path: Path, wait_until: Callable[..., Any]) -> Iterator[Path]:
    """The folder of a running rsyslog: its port and what it has written."""
    if (command := shutil.which("rsyslogd", path="/usr/sbin:/usr/bin")) is None:
        pytest.skip("rsyslog is not installed")
    folder = tmp_path / "rsyslog"
    folder.mkdir()
    (folder / "conf").write_text(RSYSLOG.replace("FOLDER", str(folder)))
    words = [command, "-n", "-f", str(folder / "conf"), "-i", str(folder / "pid")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: (folder / "port").exists() and (folder / "port").read_text(), "rsyslog listens")
        yield folder
        process.terminate()


def test_rsyslog_writes_what_was_sent(
    start: Callable[..., Any], wait_until: Callable[..., Any], rsyslog: Path
) -> None:
    port = (rsyslog / "port").read_text().strip()
    head = '[ledger]\ninterval = "100ms"\n[admin]\nlisten = "127.0.0.1:0"\n'
    text = TOML.replace("127.0.0.1:5514", "127.0.0.1:0").replace("127.0.0.1:6514", f"127.0.0.1:{port}")
    daemon = start(head + text)
    record = json.loads(RECORD)
    records = [record, *({**record, "message": f"数据 {n} ]", "disk": f'"{n}\\'} for n in range(200))]
    daemon.tcp(b"".join(json.dumps(one).encode() + b"\n" for one in records), source="apps")
    written = rsyslog / "written"
    wait_until(lambda: written.exists() and written.read_bytes().count(b"\n") == len(records), "all messages")
    daemon.stop()
    lines = written.read_text().splitlines()
    assert lines[0] == MESSAGE.strip()
    head_of_all = MESSAGE.partition("[")[0]
    assert lines[1:] == [f'{head_of_all}[fields@32473 disk="\\"{n}\\\\"] 数据 {n} ]' for n in range(200)]
