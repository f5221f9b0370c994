"""The streams that `streamd send` generates, and the faults of the plant."""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from streamd.config.problems import did_you_mean
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.printable import escape
from streamd.plant import FAULTS, MINUTES, MOST_SENSORS, SENSORS, Plant

STREAMS = ("sensors", "plant")
_MOST_MINUTES = 366 * 1440


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of generated streams."""
    parser.add_argument("--generate", nargs="?", const="sensors", metavar="STREAM",
                        help="send a generated stream: sensors (the default), without an end and without a"
                        " fault, or plant, with known faults")  # fmt: skip
    parser.add_argument("--sensors", type=between(1, 10**6), metavar="N",
                        help=f"sensors in the generated stream (default 1000, plant {SENSORS})")  # fmt: skip
    parser.add_argument("--seed", type=between(0, 2**63), metavar="N",
                        help="seed of the generated stream; the same seed gives the same bytes")  # fmt: skip
    parser.add_argument("--minutes", type=between(10, _MOST_MINUTES), metavar="N",
                        help=f"duration of the plant in its own time (default {MINUTES});"
                        " --rate says how fast it is sent")  # fmt: skip
    parser.add_argument("--faults", metavar="OUT",
                        help="write each fault of the plant into this file, as a line of JSON")  # fmt: skip


def between(least: int, most: int) -> Callable[[str], int]:
    """The parser of a whole number in a range."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and least <= int(text) <= most):  # noqa: PLR2004 - longer than any limit
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return parse


def read_word(options: argparse.Namespace) -> None:
    """A word after --generate that names no stream is the URL or FILE, as without a word after it."""
    if options.generate is not None and options.generate not in STREAMS:
        options.words.insert(0, options.generate)
        options.generate = "sensors"


def refuse_contradictions(options: argparse.Namespace) -> None:
    """Raises `ConfigError` for options that contradict each other or have no effect."""
    if options.generate and options.file:
        hint = did_you_mean(options.file, STREAMS)
        raise ConfigError(
            f"send either FILE or a generated stream (--generate), not both: {escape(options.file)}{hint}"
        )
    if not options.generate and (options.sensors is not None or options.seed is not None):
        raise ConfigError("--sensors and --seed belong to --generate")
    if options.generate != "plant":
        if options.minutes is not None or options.faults is not None:
            raise ConfigError("--minutes and --faults belong to --generate plant")
        return
    if options.count is not None:
        raise ConfigError("a plant ends by itself: give its duration with --minutes instead of --count")
    if options.connections > 1:
        raise ConfigError("the order of a plant's readings matters: leave out --connections")
    if options.sensors is not None and options.sensors > MOST_SENSORS:
        raise ConfigError(f"--sensors: a plant has at most {MOST_SENSORS:,} sensors")


def plant(options: argparse.Namespace) -> Plant | None:
    """The plant to send, if there is one."""
    if options.generate != "plant":
        return None
    return Plant(options.seed or 0, options.sensors or SENSORS, minutes=options.minutes or MINUTES)


def write_faults(file: str, plant: Plant, sent: int) -> None:
    """Write the faults that the lines sent have shown, one a line. Raises `EnvironmentFault`."""
    lines = []
    for fault in plant.faults(sent):
        given = {name: value for name, value in fault._asdict().items() if value is not None}
        lines.append(f"{json.dumps(given)}\n")
    try:
        Path(file).write_text("".join(lines), "utf-8")
    except OSError as error:
        raise EnvironmentFault(f"cannot write {escape(file)}: {error.strerror}") from error


def faults_document(plant: Plant, sent: int) -> dict[str, dict[str, int]]:
    """The faults in what was sent, for JSON."""
    books = plant.books(sent)
    return {kind: {"faults": faults, "readings": readings} for kind, (faults, readings) in books.items()}


def faults_table(plant: Plant, sent: int) -> Iterator[str]:
    """The faults in what was sent, for people."""
    books = plant.books(sent)
    width = max(map(len, FAULTS))
    yield f"{'fault'.ljust(width)}  {'faults':>6}  {'readings':>8}"
    for kind, (faults, readings) in books.items():
        yield f"{kind.ljust(width)}  {faults:6,}  {readings:8,}  {FAULTS[kind]}"
