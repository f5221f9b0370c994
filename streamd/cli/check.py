"""`streamd check`: checks a configuration, and rehearses its start on this host."""

import argparse
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from streamd import components, config
from streamd.cli import CONFIG_HELP, _topology
from streamd.cli._layout import folded, width_of
from streamd.components import Components
from streamd.config import Loaded
from streamd.config.resolved import resolved, resolved_json
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.shared import Shared
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.host import installed_service, rehearsal
from streamd.host import socket_unit as socket_units
from streamd.host.socket_unit import SocketUnit, UnitSockets
from streamd.sqlite.databases import Databases


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help=CONFIG_HELP)
    parser.add_argument(
        "--offline",
        action="store_true",
        help="do not try to open ports, files, folders and tables as a start would",
    )
    parser.add_argument(
        "--resolved", action="store_true", help="print the configuration with every default, as TOML"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text or TOML")
    parser.epilog = "Exit code: 0 good, 1 a start would fail on this host, 2 the configuration is wrong."


def main(args: argparse.Namespace) -> int:
    """Returns 0 if a start would succeed, 1 if this host would refuse it, 2 if the configuration is wrong."""
    path = config.find(args.config)
    service = installed_service.installed(path.absolute())
    if service is not None:
        service.set_folders()
        tries = not args.offline and not args.resolved
        if tries and os.geteuid() == 0 and not installed_service.is_inside():
            more = ["--json"] if args.json else []
            try:
                return service.check_inside(["--config", str(path.absolute()), *more])
            except EnvironmentFault as fault:
                if not args.json:
                    raise
                print(json.dumps({"ok": False, "faults": [str(fault)]}, indent=2))
                return fault.exit_code
    try:
        databases = Databases()
        loaded, made, dead_letters = _checked(path, databases)
    except ConfigError as error:
        if args.json:
            print(json.dumps({"ok": False, "problems": str(error).splitlines()}, indent=2))
        else:
            print(error, file=sys.stderr)
        return error.exit_code
    if args.resolved:
        _print_resolved(loaded, as_json=args.json)
        return 0
    socket_unit = None if args.offline else socket_units.installed(loaded.config, path.absolute())
    faults: list[str] = []
    changes: list[str] = []
    if not args.offline:
        sockets = None if socket_unit is None else UnitSockets(socket_unit)
        trial = rehearsal.rehearse(loaded, made, dead_letters, databases, sockets, service)
        faults, changes = trial.faults, trial.changes
    if args.json:
        document = {"ok": not faults, "faults": faults, "changes": changes, **_topology.describe(loaded)}
        document["socket_unit"] = socket_unit.describe() if socket_unit is not None else None
        print(json.dumps(document, indent=2))
    else:
        _print(loaded, socket_unit, changes, faults)
    return 1 if faults else 0


def _checked(path: Path, databases: Databases) -> tuple[Loaded, Components, DeadLetters]:
    """The configuration and its components. Raises `ConfigError` with all problems."""
    loaded = config.load(path)
    settings = loaded.config.dead_letters
    dead_letters = DeadLetters(loaded.state_dir / settings.path, settings, databases)
    made = components.make(loaded, dead_letters, Shared(databases))
    if made.problems:
        raise loaded.error(made.problems)
    return loaded, made, dead_letters


def _print_lines(lines: Sequence[str]) -> None:
    """Print lines, folded for the terminal and indented to the text after the name at their start."""
    width = width_of(sys.stdout, sys.maxsize)
    for line in lines:
        head = re.match(r"  (?=\S)|\S.*?\s{2,}|\W+", line)
        for part in folded(line, width, len(head[0]) if head is not None else 0):
            print(part)


def _print_resolved(loaded: Loaded, *, as_json: bool) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # TOML is always UTF-8
    print((resolved_json if as_json else resolved)(loaded), end="")


def _print(
    loaded: Loaded, socket_unit: SocketUnit | None, changes: Sequence[str], faults: Sequence[str]
) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals without some characters
    _print_lines(_topology.lines(loaded, sys.stdout.encoding))
    if socket_unit is not None:
        _print_lines(["", *socket_unit.lines()])
    if changes:
        print("\n".join(["", "a start would run", *(f"  {change}" for change in changes)]))
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print("\nthe configuration is good")
