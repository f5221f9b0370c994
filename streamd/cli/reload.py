"""`streamd reload`: a running daemon takes its configuration again, and says what that changes."""

import argparse
import json
import sys

import msgspec

from streamd.admin.client import Response, add_place, ask, place
from streamd.cli._layout import folded, width_of
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.printable import escape

_OK, _REFUSED = 200, 422

_WORDS = {
    ("sources", "changed"): "changed, its socket, connections and queue stay",
    ("sources", "replaced"): "opened anew",
    ("sources", "added"): "added",
    ("sources", "removed"): "removed, what it has read is still stored",
    ("sinks", "replaced"): "opened anew once the one before has written what it has",
    ("sinks", "added"): "added",
    ("sinks", "removed"): "removed once it has written what it has",
    ("steps", "replaced"): "made anew, without its state",
    ("steps", "added"): "added",
    ("steps", "removed"): "removed",
}


class ReloadAnswer(msgspec.Struct):
    """What the daemon answers: names by what becomes of them."""

    dry_run: bool
    nothing: bool
    sources: dict[str, list[str]]
    sinks: dict[str, list[str]]
    steps: dict[str, list[str]]


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="the changes as a JSON object")
    parser.epilog = (
        "Ends when the reload has. Exit code: 0 done, 1 no daemon answers or this host refuses something,"
        " 2 the configuration is wrong. With 1 and 2 a daemon keeps its previous configuration."
    )


def main(args: argparse.Namespace) -> int:
    """0 where the daemon runs on the configuration. Raises `ConfigError` or `EnvironmentFault`."""
    path = place(args)
    answer = ask(path, "POST", "/reload?dry_run=1" if args.dry_run else "/reload", None)
    if answer.code != _OK:
        raise _refusal(answer)
    try:
        changes = msgspec.json.decode(answer.body, type=ReloadAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnvironmentFault(f"what answers at {escape(str(path))} is not streamd") from error
    if args.json:
        print(json.dumps(json.loads(answer.body), indent=2))
    else:
        width = width_of(sys.stdout, sys.maxsize)
        for line in lines(changes):
            print("\n".join(folded(line, width, 4)))
    return 0


def _refusal(answer: Response) -> ConfigError | EnvironmentFault:
    if answer.code == _REFUSED:
        return ConfigError(
            f"the configuration is refused, the daemon keeps the previous one\n{answer.lines()}"
        )
    return EnvironmentFault(f"not reloaded, the daemon keeps the previous configuration\n{answer.lines()}")


def lines(changes: ReloadAnswer) -> list[str]:
    """What changes, in words; what stays only as a number."""
    if changes.nothing:
        return ["nothing would change" if changes.dry_run else "reloaded: nothing has changed"]
    told = ["a reload would make these changes" if changes.dry_run else "reloaded"]
    stays: list[str] = []
    kinds: dict[str, dict[str, list[str]]] = {
        "sources": changes.sources, "sinks": changes.sinks, "steps": changes.steps,
    }  # fmt: skip
    for kind, by_fate in kinds.items():
        for fate, names in by_fate.items():
            if fate == "kept" and names:
                stays.append(f"{len(names)} {kind if len(names) > 1 else kind[:-1]}")
            elif names:
                word = _WORDS.get((kind, fate), fate)
                told += [f"  {kind[:-1]} {escape(name)}: {word}" for name in names]
    if stays:
        told.append(f"  as before: {', '.join(stays)}")
    return told
