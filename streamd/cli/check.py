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
from streamd.cli._own_output import own_output
from streamd.components import Components
from streamd.config import Loaded
from streamd.config.resolved import resolved, resolved_json
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.shared import Shared
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.host import installed_service, rehearsal
from streamd.host import socket_unit as socket_units
from streamd.host.installed_service import Service
from streamd.host.socket_unit import SocketUnit, UnitSockets
from streamd.sqlite.databases import Databases
from streamd.testing import report
from streamd.testing.files import find
from streamd.testing.run import Result, run


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
    parser.add_argument(
        "--tests", action="store_true", help="also run the tests of the configuration, as `streamd test` does"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text or TOML")
    parser.epilog = (
        "Exit code: 0 good, 1 a start would fail on this host or a test fails,"
        " 2 the configuration or a test is wrong."
    )


def main(args: argparse.Namespace) -> int:
    """Returns 0 if a start would succeed, 1 if this host would refuse it or a test fails.

    Returns 2 if the configuration or a test is wrong.
    """
    path = config.find(args.config)
    service = installed_service.installed(path.absolute())
    if service is not None:
        service.set_folders()
        tries = not args.offline and not args.resolved
        if tries and os.geteuid() == 0 and not installed_service.is_inside():
            return _check_inside(service, path, args)
    try:
        databases = Databases()
        loaded, made, dead_letters = _checked(path, databases)
        results = _tested(loaded, wanted=args.tests)
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
    faults += [line for result in results if not result.passed for line in report.lines(result)]
    if args.json:
        document = {"ok": not faults, "faults": faults, "changes": changes, **_topology.describe(loaded)}
        document["tests"] = report.document(results)["tests"]
        document["socket_unit"] = socket_unit.describe() if socket_unit is not None else None
        print(json.dumps(document, indent=2))
    else:
        _print(loaded, socket_unit, changes, faults)
        if results:
            print(report.last_line(results))
    return 1 if faults else 0


def _check_inside(service: Service, path: Path, args: argparse.Namespace) -> int:
    more = [option for option in ("--json", "--tests") if getattr(args, option[2:])]
    try:
        return service.check_inside(["--config", str(path.absolute()), *more])
    except EnvironmentFault as fault:
        if not args.json:
            raise
        print(json.dumps({"ok": False, "faults": [str(fault)]}, indent=2))
        return fault.exit_code


def _checked(path: Path, databases: Databases) -> tuple[Loaded, Components, DeadLetters]:
    """The configuration and its components. Raises `ConfigError` with all problems."""
    loaded = config.load(path)
    settings = loaded.config.dead_letters
    dead_letters = DeadLetters(loaded.state_dir / settings.path, settings, databases)
    made = components.make(loaded, dead_letters, Shared(databases))
    if made.problems:
        raise loaded.error(made.problems)
    return loaded, made, dead_letters


def _tested(loaded: Loaded, *, wanted: bool) -> list[Result]:
    """The results of the tests if they are wanted or required. Raises `ConfigError` for a wrong test."""
    cases = find(loaded)
    if not wanted and loaded.config.daemon.tests != "require":
        return []
    if not cases:
        raise ConfigError(f"{loaded.path}: there is no test")
    with own_output():
        return list(run(loaded, cases))


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
    _print_lines(_topology.lines(loaded, sys.stdout.encoding))
    if socket_unit is not None:
        _print_lines(["", *socket_unit.lines()])
    if changes:
        print("\n".join(["", "a start would run", *(f"  {change}" for change in changes)]))
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print("\nthe configuration is good")
