"""The commands, one file each: `add(parser)` declares arguments, `main(args)` returns the exit code."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from streamd import __version__
from streamd.cli import _standard_streams
from streamd.core.errors import StreamdError
from streamd.core.printable import printable
from streamd.logs.journal import is_journal, prefixed

COMMANDS = {
    "run": "run the daemon in the foreground",
    "check": "check a configuration and say what it would do",
    "schema": "print the JSON Schema of the configuration, or a sample of one component",
    "status": "ask a running daemon for its books and queues",
    "reload": "let a running daemon take its configuration again",
    "tail": "show the newest stored records, and those that come",
    "query": "ask the stored data in SQL",
    "dead-letters": "look at what could not be used, and why",
    "doctor": "look at what this host does to a configuration, and how to mend it",
    "logs": "make the daemon's log readable, and pick lines from it",
    "try": "send a sample through a configuration, without a daemon",
    "send": "send a file, standard input or a generated stream",
    "bench": "measure this machine",
    "install-service": "write what systemd needs to run streamd as a service",
    "uninstall-service": "take away what install-service wrote",
}

CONFIG_HELP = "default: $STREAMD_CONFIG, else config/streamd.toml, else /etc/streamd/streamd.toml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors a user can cause end in one line on stderr, never in a traceback.

    Where the reader of standard output has gone (`| head`), a command stops silently with exit code 1.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _standard_streams.take(daemon="run" in arguments)
    try:
        return _settled(arguments)
    except StreamdError as error:
        _standard_streams.drop_if_stuck()
        text = f"streamd: {error}"
        print(prefixed("error", text) if is_journal(2) else text, file=sys.stderr)
        return error.exit_code
    except UnicodeEncodeError as error:  # a path in characters that the locale does not have
        encoding = sys.getfilesystemencoding()
        shown = printable(error.object)
        print(
            f"streamd: no name for {shown} in this locale ({encoding}): set LC_ALL=C.UTF-8", file=sys.stderr
        )
        return 1
    except BrokenPipeError:
        _standard_streams.drop()
        return 1
    except KeyboardInterrupt:
        _standard_streams.drop_if_stuck()
        return 130


def _settled(arguments: list[str]) -> int:
    """The exit code, once all output is written. Raises as the command does."""
    try:
        code = _main(arguments)
    except SystemExit:  # argparse has printed something, which may be help
        _standard_streams.settle()
        raise
    _standard_streams.settle()
    return code


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="streamd", description="Data streams in, your Python, SQLite out.")
    parser.add_argument("--version", action="version", version=f"streamd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    chosen = next((word for word in arguments if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:  # only the chosen command's module is imported: the others cost start-up time
            importlib.import_module(f"streamd.cli.{name.replace('-', '_')}").add(command)
    options = parser.parse_args(arguments)
    return int(importlib.import_module(f"streamd.cli.{options.command.replace('-', '_')}").main(options))
