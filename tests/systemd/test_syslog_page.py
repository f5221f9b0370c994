"""docs/how-to/central-syslog-server.md, typed under a real systemd."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)

TEXT = (Path(__file__).parents[2] / "docs" / "how-to" / "central-syslog-server.md").read_text()
TOML, LOSSES = re.findall(r"^```(?:toml|sh)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^    ((?:logger|cd) .*)$", TEXT, re.MULTILINE)[:2]
QUESTIONS = re.findall(r"^    (cd / && streamd query \"select [^\"]*\")$", TEXT, re.MULTILINE)[1:]


def typed(service: Any, command: str, check: bool = True) -> str:
    """Output of a command of the page; the program is not on the PATH of that machine."""
    command = re.sub(r"\S*streamd query", "/opt/streamd/bin/python3 -m streamd query", command)
    output: str = service.machine.run("sh", "-c", command, check=check)
    return output


def test_syslog_is_collected_on_port_514_and_losses_are_printed(service: Any) -> None:
    service.install(TOML)
    service.start()
    logger, query = COMMANDS
    typed(service, logger)
    typed(service, logger.replace("--udp", "--tcp --octet-count"))
    stored: list[str] = []

    def both() -> bool:
        stored[:] = typed(service, query).splitlines()[1:]
        return len(stored) == 2

    service.until(both, "both messages")
    for line in stored:
        _, peer, severity, message = line.split("\t")
        assert peer.startswith("127.0.0.1:")
        assert severity == "3"
        assert message == "disk failure"
    answers = [typed(service, question).splitlines() for question in QUESTIONS]
    assert [line.split("\t")[0] for line in answers[0]] == ["severity_name", "err"]
    assert [len(answer) for answer in answers] == [2, 3, 2]
    assert all(line.endswith("\tdisk failure") for line in answers[1][1:])
    assert answers[2][1].endswith("\t2")

    assert typed(service, LOSSES) == ""
    pid = service.pid
    service.kill("KILL")
    service.await_new(pid)
    losses: list[str] = []

    def printed() -> bool:
        losses[:] = typed(service, LOSSES).splitlines()
        return bool(losses)

    service.until(printed, "the time of the crash")
    assert {json.loads(line)["percent"] for line in losses} == {None}
    service.stop()
    assert "books balance" in service.log()
