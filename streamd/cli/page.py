"""`streamd page`: prints the address of the page of a running daemon."""

import argparse
import json
import socket
from pathlib import Path

import msgspec

from streamd.admin.client import STATUS_TIMEOUT_S, add_place, ask, place
from streamd.core.errors import EnvironmentFault
from streamd.core.printable import escape

_OK = 200
_UNIX = "unix:"
_EVERY_HOST = ("0.0.0.0:", "[::]:")


class PageAddress(msgspec.Struct):
    """The answer of the daemon."""

    served_at: list[str]
    token: str


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="print the addresses and the token as JSON")
    parser.epilog = (
        "The address ends with the token, which lets its holder read records: treat it like a password."
        " Exit code: 0, or 1 if no daemon answers or it has no page."
    )


def main(args: argparse.Namespace) -> int:
    """Returns 0. Raises `EnvironmentFault` if no daemon answers, or if it serves no page."""
    path = place(args)
    found = _asked(path)
    urls = [] if found.served_at[0].startswith(_UNIX) else [url(at) for at in found.served_at]
    if args.json:
        pages = [f"{one}#token={found.token}" for one in urls]
        print(json.dumps({"pages": pages, "served_at": found.served_at, "token": found.token}))
    elif urls:
        print(f"{urls[0]}#token={found.token}")
    else:
        forwarded = f"127.0.0.1:9900:{found.served_at[0].removeprefix(_UNIX)}"
        print(f"ssh -L {forwarded} {socket.gethostname()}    # where the browser is; then open")
        print(f"http://127.0.0.1:9900/#token={found.token}")
    return 0


def url(served_at: str) -> str:
    """The address of the page for a browser. For all interfaces, the name of this host is used."""
    for every in _EVERY_HOST:
        if served_at.startswith(every):
            return f"http://{socket.gethostname()}:{served_at.removeprefix(every)}/"
    return f"http://{served_at}/"


def _asked(path: Path) -> PageAddress:
    answer = ask(path, "GET", "/page-address", STATUS_TIMEOUT_S)
    if answer.code != _OK:
        raise EnvironmentFault(f"there is no page: {answer.lines()}")
    try:
        return msgspec.json.decode(answer.body, type=PageAddress)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnvironmentFault(f"the program that answers at {escape(str(path))} is not streamd") from error
