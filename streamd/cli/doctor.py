"""`streamd doctor`: finds settings of this host that harm a configuration, and prints how to correct them."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from streamd import config
from streamd.cli import CONFIG_HELP
from streamd.cli._layout import folded, width_of
from streamd.core.printable import escape
from streamd.host import units
from streamd.host.doctor import (
    backlog,
    certificates,
    clock,
    control_socket,
    disk_space,
    file_system,
    kernel_drops,
    memory,
    open_files,
    permissions,
    ports,
    python,
    receive_buffer,
    sqlite,
    sync_speed,
)
from streamd.host.doctor.finding import SEVERITIES, Finding
from streamd.host.doctor.host import Host

CHECKS = (
    kernel_drops,
    receive_buffer,
    disk_space,
    file_system,
    permissions,
    certificates,
    ports,
    control_socket,
    open_files,
    memory,
    sqlite,
    clock,
    sync_speed,
    backlog,
    python,
)
"""In the order in which findings of one severity are printed."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help=CONFIG_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.epilog = "Changes nothing. Exit code: 0 no problem, 1 a problem, 2 the configuration is wrong."


def main(args: argparse.Namespace) -> int:
    """Returns 0 if no finding is a problem, else 1. Raises `ConfigError`."""
    path = config.find(args.config).absolute()
    host = Host(path)
    if host.is_service:  # systemd sets the default of `state_dir` for the service
        os.environ.setdefault("STATE_DIRECTORY", str(units.STATE_DIR))
    findings = examine(path, host)
    has_problem = any(finding.severity == "problem" for finding in findings)
    if args.json:
        document = {"ok": not has_problem, "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(document, indent=2))
    else:
        _print(findings)
    return int(has_problem)


def examine(path: Path, host: Host) -> list[Finding]:
    """The findings of all checks, most important first. Raises `ConfigError`."""
    loaded = config.load(path)
    findings = [finding for check in CHECKS for finding in check.look(loaded, host)]
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _print(findings: Sequence[Finding]) -> None:
    width = width_of(sys.stdout, sys.maxsize)
    for finding in findings:
        head = f"{finding.severity:<8} {finding.check:<14} "
        for part in folded(head + escape(finding.text), width, len(head)):
            print(part)
        for line in finding.paste:
            print(f"    {escape(line)}")
    numbers = [(sum(f.severity == severity for f in findings), severity) for severity in SEVERITIES]
    print(f"\n{', '.join(f'{n} {severity}' for n, severity in numbers if n)}")
