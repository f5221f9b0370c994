"""streamd accepts the commands and the configuration tables of the documentation."""

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.cli import main, parse

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(?:bin/)?streamd (?!COMMAND)([^`…]+)`")
TYPED = re.compile(r"^(?:\$ )?(?:\S*/)?(?:streamd|echo|journalctl|cd|exec) ")
ENDS = {"|", ";", "&&", ">", "<", "&"}


def shell_lines(text: str) -> Iterator[str]:
    """The lines of a block, joined where a quote or a backslash continues them."""
    whole = ""
    for line in text.splitlines():
        whole = f"{whole}\n{line}" if whole else line
        if not line.endswith("\\") and whole.count('"') % 2 == 0 and whole.count("'") % 2 == 0:
            yield whole.replace("\\\n", " ")
            whole = ""


def arguments_of(line: str) -> Iterator[list[str]]:
    """The arguments of each streamd in a shell line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split = True
    arguments: list[str] | None = None
    first = True
    for word in [*lexer, ";"]:
        if word in ENDS:
            if arguments is not None:
                yield arguments
            arguments, first = None, True
        elif arguments is not None:
            arguments.append(word)
        elif first and word != "exec":
            arguments, first = [] if word.rpartition("/")[2] == "streamd" else None, False


def commands(page: str) -> Iterator[list[str]]:
    """The arguments of every streamd command in the code blocks of a page."""
    blocks = [re.sub(r"(?m)^ {4}", "", block) for block in INDENTED.findall(FENCED.sub("", page))]
    blocks += [text for kind, text in FENCED.findall(page) if kind == "sh"]
    for block in blocks:
        for line in shell_lines(block):
            if TYPED.match(line):
                yield from arguments_of(line.removeprefix("$ "))


def inline_commands(page: str) -> list[list[str]]:
    """The arguments of every streamd command in the sentences of a page."""
    return [shlex.split(found) for found in INLINE.findall(INDENTED.sub("", FENCED.sub("", page)))]


COMMANDS = [(page, words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]
IN_SENTENCES = [(page, words) for page in PAGES for words in inline_commands(page.read_text("utf-8"))]


def ids(found: list[tuple[Path, list[str]]]) -> list[str]:
    return [f"{page.stem}: {' '.join(words)[:60]}" for page, words in found]


def test_the_pages_have_commands() -> None:
    named = {words[0] for _, words in COMMANDS}
    assert named >= {"run", "check", "try", "query", "tail", "dead-letters", "logs", "reload", "send"}
    assert len(COMMANDS) > 50
    assert len(IN_SENTENCES) > 50


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=ids(COMMANDS))
def test_every_command_is_accepted(page: Path, words: list[str]) -> None:
    if words != ["--version"]:
        assert parse(words).command == words[0], page


@pytest.mark.parametrize(("page", "words"), IN_SENTENCES, ids=ids(IN_SENTENCES))
def test_a_command_in_a_sentence_exists_with_its_options(
    page: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Such a command may lack arguments that it requires."""
    try:
        assert parse(words).command == words[0], page
    except SystemExit:
        error = capsys.readouterr().err
        assert "required" in error or "expected one argument" in error, (page, error)


def test_commands_are_found_and_unknown_options_refused() -> None:
    page = """
    $ cd / && streamd query "select 1
      from x" | head -1 > f
    $ journalctl -u streamd -o cat | streamd logs      # readable
    $ echo x | bin/streamd try --no-such-option
"""
    assert [*commands(page)] == [["query", "select 1\n  from x"], ["logs"], ["try", "--no-such-option"]]
    with pytest.raises(SystemExit):
        parse(["try", "--no-such-option"])


TABLES = [
    (page, text)
    for page in PAGES
    for kind, text in FENCED.findall(page.read_text(encoding="utf-8"))
    if kind == "toml" and re.search(r"^\[", text, re.MULTILINE)
]


def completed(text: str) -> str:
    """The tables of an example, with the parts that the page leaves out."""
    given: dict[str, Any] = tomllib.loads(text)
    sources, sinks = given.get("sources", {}), given.get("sinks", {})
    more = []
    if not sources:
        more.append('[sources.other]\ntype = "udp"\nlisten = "127.0.0.1:0"')
    if not sinks:
        more.append('[sinks.other]\ntype = "stdout"')
    if "pipelines" not in given:
        more.append(f"[pipelines.main]\nsources = {[*sources] or ['other']}\nsinks = {[*sinks] or ['other']}")
    named = {part.get("schema") for part in (*sources.values(), *sinks.values())} - {None}
    brought = {name for name in registry.names("codecs") if registry.load("codecs", name).brings}
    named -= {*given.get("schemas", {}), *brought}
    more += [f'[schemas.{name}]\nts = "timestamp"' for name in sorted(named)]
    return "\n".join([text, *more])


def test_the_pages_have_tables() -> None:
    assert len(TABLES) > 10


@pytest.mark.parametrize(
    ("page", "text"), TABLES, ids=[f"{page.stem}: {text.splitlines()[0]}" for page, text in TABLES]
)
def test_every_table_is_accepted(page: Path, text: str, tmp_path: Path) -> None:
    written = completed(text)
    functions = [code for kind, code in FENCED.findall(page.read_text("utf-8")) if kind == "python"]
    for name in re.findall(r'(?:function|model) = "(\w+\.py):', written):
        (tmp_path / name).write_text("\n\n".join(functions))
    for name in re.findall(r'file = "(\w+\.onnx)"', written):
        shutil.copy(ROOT / "streamd/bench/models/logistic.onnx", tmp_path / name)
    (tmp_path / "streamd.toml").write_text(written)
    assert main(["check", "--offline", "--config", str(tmp_path / "streamd.toml")]) == 0
