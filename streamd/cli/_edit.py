"""`streamd dead-letters edit`: corrects the content of one letter and replays it."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from streamd.cli import _replay
from streamd.cli.query import QueryRefused, only_reading, open_read_only, positive
from streamd.core.errors import EnvironmentFault
from streamd.core.regular_file import read_regular
from streamd.dead_letters.filter import LetterFilter
from streamd.dead_letters.reader import row

if TYPE_CHECKING:  # these imports load every component, and reading letters does not need them
    from streamd.config import Loaded
    from streamd.replay.letters import ReplayPlan


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("id", type=positive, metavar="ID", help="the letter's number in the list")
    parser.add_argument(
        "--with",
        dest="file",
        metavar="FILE",
        help="read the new content from FILE (- for standard input) instead of opening an editor"
        " ($VISUAL, $EDITOR or vi); `show ID --raw > FILE` writes the old content",
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    parser.add_argument("--config", metavar="FILE", help="the configuration with the pipelines")


def main(options: argparse.Namespace) -> int:
    """Replay the letter with its new content. Returns 0 if it is stored or filtered now, else 1.

    The letter keeps its old content until the new content is stored, filtered or rejected. Raises
    `ConfigError`, `EnvironmentFault` and `QueryRefused`.
    """
    from streamd import config  # noqa: PLC0415 - loads every component

    loaded = config.load(config.find(options.config))
    planned, old = _letter(loaded, options.id)
    if options.file is not None:
        return _replay_with(_read(options.file), old, planned, loaded, options)
    draft = _draft(options.id, old)
    code = None
    try:
        _run_editor(draft)
        code = _replay_with(draft.read_bytes(), old, planned, loaded, options)
    finally:
        if code == 0 or draft.read_bytes() == old:
            draft.unlink()
        else:
            again = f"streamd dead-letters edit {options.id} --with {draft}"
            print(f"streamd: your text is in {draft}; to try it again: {again}", file=sys.stderr)
    return code


def _letter(loaded: "Loaded", number: int) -> tuple["ReplayPlan", bytes]:
    """The plan to replay this letter alone, and its content."""
    from streamd.replay.letters import plan  # noqa: PLC0415 - loads every component
    from streamd.replay.ways import why_not  # noqa: PLC0415

    wanted = LetterFilter(ids=(number,))
    file = loaded.state_dir / loaded.config.dead_letters.path
    with closing(open_read_only(file)) as connection, only_reading(connection):
        _replay.refuse_missing(connection, wanted)
        planned = plan(connection, wanted)
        content = row(connection, number)[-1]
    (origin,) = planned.origins
    if why := why_not(loaded, origin):
        raise QueryRefused(f"dead letter {number} cannot be replayed: {why}")
    return planned, content.encode() if isinstance(content, str) else content


def _replay_with(
    content: bytes, old: bytes, planned: "ReplayPlan", loaded: "Loaded", options: argparse.Namespace
) -> int:
    if not old.endswith(b"\n"):
        content = content.removesuffix(b"\n")  # editors end each file with a line end
    if content == old:
        print("the content has not changed: nothing was sent", file=sys.stderr)
        return 1
    (origin,) = planned.origins
    if origin.kind == "record" and (fault := _fault(content)):
        raise QueryRefused(f"the content of a rejected record must be a JSON object: {fault}")
    edited = replace(planned, edited={options.id: content})
    return _replay.send(edited, loaded, as_json=options.json)


def _fault(content: bytes) -> str | None:
    """The reason why the content is no JSON object, or None."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        return str(error)
    return None if isinstance(value, dict) else f"this is {type(value).__name__}"


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else read_regular(file)
    except OSError as error:
        raise EnvironmentFault(f"cannot read {file}: {error.strerror}") from None


def _draft(number: int, content: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f"dead-letter-{number}-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return Path(name)


def _run_editor(draft: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.run([*shlex.split(editor), draft], check=False).returncode  # noqa: S603 - the user's editor
    except (OSError, ValueError) as error:
        raise EnvironmentFault(
            f"cannot run the editor {editor!r}: {error}; set $EDITOR or use --with"
        ) from None
    if code:
        raise EnvironmentFault(f"the editor {editor!r} ended with code {code}: nothing was sent")
