"""`streamd reload`: makes a running daemon reload its configuration, and prints the changes."""

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
    ("sources", "changed"): "changed, keeps its socket, connections and queue",
    ("sources", "replaced"): "reopened",
    ("sources", "added"): "added",
    ("sources", "removed"): "removed, its received records are still stored",
    ("sinks", "replaced"): "reopened after the old sink has written its buffer",
    ("sinks", "added"): "added",
    ("sinks", "removed"): "removed after it has written its buffer",
    ("steps", "replaced"): "made again; its state goes on if it still fits, as the log says",
    ("steps", "added"): "added",
    ("steps", "removed"): "removed",
    ("pipelines", "changed"): "changed: its sources, its sinks or their where",
    ("settings", "changed"): "changed",
}


class ReloadAnswer(msgspec.Struct):
    """The daemon's answer: names of components by kind of change."""

    dry_run: bool
    nothing: bool
    sources: dict[str, list[str]]
    sinks: dict[str, list[str]]
    steps: dict[str, list[str]]
    pipelines: dict[str, list[str]] = {}
    settings: dict[str, list[str]] = {}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--dry-run", action="store_true", help="only show the changes")
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="print the changes as a JSON object")
    parser.epilog = (
        "Waits for the end of the reload. Exit code: 0 reloaded, 1 no daemon answers or this host refuses the"
        " reload, 2 the configuration is wrong. With 1 and 2 the daemon keeps its previous configuration."
    )


def main(args: argparse.Namespace) -> int:
    """Returns 0 after a reload. Raises `ConfigError` or `EnvironmentFault`."""
    path = place(args)
    answer = ask(path, "POST", "/reload?dry_run=1" if args.dry_run else "/reload", None)
    if answer.code != _OK:
        raise _refusal(answer)
    try:
        changes = msgspec.json.decode(answer.body, type=ReloadAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnvironmentFault(f"the program that answers at {escape(str(path))} is not streamd") from error
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
    """The changes as lines of text. Kept components are only counted."""
    if changes.nothing:
        return ["nothing would change" if changes.dry_run else "reloaded: nothing has changed"]
    text = ["a reload would make these changes" if changes.dry_run else "reloaded"]
    kept: list[str] = []
    kinds: dict[str, dict[str, list[str]]] = {
        "sources": changes.sources, "sinks": changes.sinks, "steps": changes.steps,
        "pipelines": changes.pipelines, "settings": changes.settings,
    }  # fmt: skip
    for kind, by_fate in kinds.items():
        for fate, names in by_fate.items():
            if fate == "kept" and names:
                kept.append(f"{len(names)} {kind if len(names) > 1 else kind[:-1]}")
            elif names:
                word = _WORDS.get((kind, fate), fate)
                text += [f"  {kind[:-1]} {escape(name)}: {word}" for name in names]
    if kept:
        text.append(f"  unchanged: {', '.join(kept)}")
    return text
