"""The commands, one file each. `add(parser)` declares arguments, and `main(args)` returns the exit code."""

import argparse
import difflib
import errno
import importlib
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamd import __version__
from streamd.cli import _standard_streams
from streamd.cli._examples import EXAMPLES
from streamd.cli._lean_imports import lean_imports
from streamd.core.errors import ConfigError, StreamdError
from streamd.core.paths import UNNAMEABLE, unexpanded
from streamd.core.printable import printable
from streamd.logs.journal import Journal, is_journal
from streamd.logs.stderr import Stderr

COMMANDS = {
    "run": "run the daemon in the foreground",
    "check": "check a configuration and show what it does",
    "schema": "print the JSON Schema of the configuration, or a sample of one component",
    "status": "show the books and queues of a running daemon",
    "top": "show the rates, queues and losses of a running daemon, live",
    "page": "print the address of the page of a running daemon",
    "reload": "make a running daemon reload its configuration",
    "tap": "show the records that pass a source, a step or a sink of a running daemon",
    "tail": "show the newest stored records, and follow new ones",
    "query": "query the stored data in SQL",
    "plot": "draw the result of a query as a chart",
    "dead-letters": "show, edit, replay or purge rejected frames and records",
    "state": "show or delete the state that steps keep over a restart",
    "doctor": "find settings of this host that harm a configuration, with commands to correct them",
    "logs": "format the daemon's log for people, and filter it",
    "try": "send a sample through a configuration, without a daemon",
    "test": "run the tests of a configuration, without a daemon",
    "send": "send a file, standard input or a generated stream",
    "capacity": "say what would happen at another load, in a stall or a burst, and what holds it",
    "bench": "measure the daemon's speed on this machine",
    "install-service": "write the systemd units that run streamd as a service",
    "uninstall-service": "remove the files that install-service wrote",
}

_TAKE_A_CONFIGURATION = frozenset({"run", "check", "test", "status", "top", "page", "reload", "doctor"})
_TEXTS = frozenset(
    {"sql", "x", "by", "title", "where", "field", "fields", "point", "event", "reason", "only"}
)
"""Options that are no paths, so they may begin with `~` or `$`."""

_SHOWN_CHARS = 100
CONFIG_HELP = "default: $STREAMD_CONFIG, else config/streamd.toml, else /etc/streamd/streamd.toml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    An error that a user can cause is one line on stderr, never a traceback. If the reader of standard output
    has closed it (`| head`), a command stops silently with exit code 1.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _standard_streams.take(daemon="run" in arguments)
    try:
        return _settled(arguments)
    except StreamdError as error:
        _standard_streams.drop_if_stuck()
        _print_error(str(error))
        return error.exit_code
    except UnicodeEncodeError as error:  # a path with characters that the locale cannot encode
        _print_error(f"{printable(error.object)} {UNNAMEABLE}")
        return 1
    except BrokenPipeError:
        _standard_streams.drop()
        return 1
    except OSError as error:  # a path of the command line that no file can have
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        _standard_streams.drop_if_stuck()
        _print_error(f"{printable(str(error.filename), _SHOWN_CHARS)}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        _standard_streams.drop_if_stuck()
        return 130


class _Parser(argparse.ArgumentParser):
    """Refuses `--` as the value of an option, for which argparse of Python 3.11 gives an empty list."""

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and arg_strings == ["--"]:
            raise argparse.ArgumentError(action, "-- is no value")
        return super()._get_values(action, arg_strings)


def _print_error(text: str) -> None:
    """Print an error on standard error. If that is a unit's journal, write a journal entry instead."""
    if is_journal(2):
        Journal(Stderr(2, str), str).write("error", text)
    else:
        print(f"streamd: {text}", file=sys.stderr)


def _settled(arguments: list[str]) -> int:
    """Run the command and write all output. Returns the exit code. Raises the command's errors."""
    try:
        code = _main(arguments)
    except SystemExit:  # argparse has printed an error or help
        _standard_streams.settle()
        raise
    _standard_streams.settle()
    return code


def _main(arguments: list[str]) -> int:
    options = parse(arguments)
    return int(importlib.import_module(f"streamd.cli.{options.command.replace('-', '_')}").main(options))


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of one command. Raises `SystemExit` for wrong usage, and `ConfigError`."""
    parser = _Parser(prog="streamd", description="Data streams in, your Python, SQLite out.")
    parser.add_argument("--version", action="version", version=f"streamd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    chosen = next((word for word in arguments if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == chosen:  # other commands are not imported, because their imports cost start-up time
            with lean_imports():
                module = importlib.import_module(f"streamd.cli.{name.replace('-', '_')}")
            module.add(command)
            if name in _TAKE_A_CONFIGURATION:
                command.add_argument(
                    "config_file", nargs="?", metavar="FILE", help="the same as --config FILE"
                )
            command.epilog = _with_examples(name, command.epilog)
    word = arguments[0] if arguments else ""
    if chosen is None and (close := difflib.get_close_matches(word.lower(), COMMANDS, 1)):
        parser.error(f"there is no command {printable(word)} (did you mean {close[0]}?)")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        commands.choices[options.command].error(_unknown(unknown))
    _take_configuration(options)
    _refuse_unexpanded(options)
    return options


def _with_examples(name: str, epilog: str | None) -> str:
    width = max(40, shutil.get_terminal_size().columns - 2)
    examples = "\n".join(["examples:", *(f"  {line}" for line in EXAMPLES.get(name, ()))])
    return "\n\n".join([*([textwrap.fill(epilog, width)] if epilog else []), examples])


def _unknown(arguments: Sequence[str]) -> str:
    shown = " ".join(printable(argument) for argument in arguments)
    if arguments[0].endswith(".toml"):
        return f"unrecognized arguments: {shown}; a configuration is named with --config {shown}"
    return f"unrecognized arguments: {shown}"


def _take_configuration(options: argparse.Namespace) -> None:
    """Treat `streamd run FILE` as `streamd run --config FILE`. Raises `ConfigError` if both are given."""
    file = getattr(options, "config_file", None)
    if file is None:
        return
    for key in ("config", "socket"):
        if getattr(options, key, None) is not None:
            raise ConfigError(f"name the configuration once: both {printable(file)} and --{key} are given")
    options.config = file


def _refuse_unexpanded(options: argparse.Namespace) -> None:
    """Raises `ConfigError` for paths that the shell has not expanded, such as `--config=~/x`."""
    for key, value in vars(options).items():
        for path in value if isinstance(value, list) else (value,):
            if key not in _TEXTS and isinstance(path, str | Path) and (why := unexpanded(str(path))):
                raise ConfigError(f"{printable(str(path))}: {why}")
