"""`streamd top`: shows the rates, queues and losses of a running daemon, live."""

import argparse

from streamd.admin.client import add_place, place


def add(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--once", action="store_true", help="print one page and end, as without a terminal")
    parser.epilog = (
        "Keys: s sort, r reverse, / filter, p pause, ? help, q quit. Exit code: 0; 1 if no daemon answers"
        " (--once); 130 after Ctrl-C."
    )


def main(args: argparse.Namespace) -> int:
    """Show the page. Raises `EnvironmentFault` if no daemon answers, when only one page is asked for."""
    from streamd.top import live  # noqa: PLC0415 - rich costs start-up time
    from streamd.top.tty import is_interactive  # noqa: PLC0415 - the same

    socket = place(args)
    if args.once or not is_interactive():
        live.write(live.once(socket))
        return 0
    return live.watch(socket)
