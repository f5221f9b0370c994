"""`streamd doctor`: what this host does to this configuration, and the lines that mend it."""

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
    open_files,
    memory,
    sqlite,
    clock,
    sync_speed,
    backlog,
    python,
)
"""Among findings of one severity those of the first come first."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help=CONFIG_HELP)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.epilog = "Changes nothing. Exit code: 0 no problem, 1 a problem, 2 the configuration is wrong."


def main(args: argparse.Namespace) -> int:
    """0 where nothing is a problem, 1 where something is. Raises `ConfigError`."""
    path = config.find(args.config).absolute()
    host = Host(path)
    if host.is_service:  # it has no `state_dir` of its own then, but systemd's
        os.environ.setdefault("STATE_DIRECTORY", str(units.STATE_DIR))
    findings = examine(path, host)
    has_problem = any(finding.severity == "problem" for finding in findings)
    if args.json:
        told = {"ok": not has_problem, "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(told, indent=2))
    else:
        _print(findings)
    return int(has_problem)


def examine(path: Path, host: Host) -> list[Finding]:
    """Everything that was found, most important first. Raises `ConfigError`."""
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
