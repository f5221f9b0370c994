"""`streamd check`: everything that can be known of a configuration without running it."""

import argparse
import json
import sys

from streamd import components, config
from streamd.cli import _comparison, _topology, _trial
from streamd.config.resolved import resolved, resolved_json
from streamd.core.errors import ConfigError
from streamd.dead_letters import DeadLetters
from streamd.storage.databases import Databases


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    parser.add_argument("--offline", action="store_true", help="do not look at this host's ports and folders")
    parser.add_argument(
        "--resolved", action="store_true", help="print the configuration with every default, as TOML"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text or TOML")
    parser.epilog = "Exit code: 0 good, 1 this host refuses something, 2 the configuration is wrong."


def main(args: argparse.Namespace) -> int:
    """0 good, 1 where this host would refuse something, 2 where the configuration is wrong."""
    try:
        loaded = config.load(config.find(args.config))
        databases = Databases()
        letters = DeadLetters(
            loaded.state_dir / loaded.config.dead_letters.path, loaded.config.dead_letters, databases
        )
        made = components.make(loaded, letters, databases)
        if made.problems:
            raise loaded.error(made.problems)
    except ConfigError as error:
        if args.json:
            print(json.dumps({"ok": False, "problems": str(error).splitlines()}, indent=2))
        else:
            print(error, file=sys.stderr)
        return error.exit_code
    if args.resolved:
        print((resolved_json if args.json else resolved)(loaded), end="")
        return 0
    faults = [] if args.offline else _trial.faults(loaded)
    changes: list[str] = []
    if not args.offline and not faults:
        changes, faults = _comparison.compare(made.sinks)
    if args.json:
        print(
            json.dumps(
                {"ok": not faults, "faults": faults, "changes": changes, **_topology.describe(loaded)},
                indent=2,
            )
        )
    else:
        print("\n".join(_topology.lines(loaded)))
        if changes:
            print("\n".join(["", "a start would run", *(f"  {change}" for change in changes)]))
        for fault in faults:
            print(fault, file=sys.stderr)
        if not faults:
            print("\nthe configuration is good")
    return 1 if faults else 0
