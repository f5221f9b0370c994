"""What a command's help shows can be typed."""

import shlex
from pathlib import Path

import pytest

from streamd.cli import COMMANDS, main, parse
from streamd.cli._examples import EXAMPLES
from streamd.core.errors import ConfigError

LINES = [(name, line) for name in COMMANDS for line in EXAMPLES[name]]


@pytest.mark.parametrize(("name", "line"), LINES)
def test_an_example_is_accepted_as_it_is_typed(name: str, line: str) -> None:
    commands = [shlex.split(part.partition("<")[0]) for part in line.split(" | ")]
    (words,) = [words[1:] for words in commands if name in words[1:] and "streamd" in words[:2]]
    words = words[words.index(name) :]
    assert words[0] == name
    assert parse(words).command == name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_ends_with_its_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    lines = capsys.readouterr().out.rstrip().split("\n")
    assert lines[-len(EXAMPLES[name]) - 1 :] == ["examples:", *(f"  {line}" for line in EXAMPLES[name])]


@pytest.mark.parametrize("command", ["run", "check", "test", "status", "top", "reload", "doctor"])
def test_a_configuration_may_be_named_without_an_option(command: str) -> None:
    assert parse([command, "lab.toml"]).config == "lab.toml"
    with pytest.raises(ConfigError, match=r"both lab\.toml and --config"):
        parse([command, "lab.toml", "--config", "other.toml"])


def test_a_configuration_in_a_wrong_place_is_answered_with_the_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["query", "select 1", "lab.toml"])
    assert exited.value.code == 2
    assert "a configuration is named with --config lab.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--config=~/x"],
        ["check", "~/x"],
        ["query", "select 1", "--db", "~/x"],
        ["query", "select '~'", "--output", "~/x"],
        ["status", "--socket", "$HOME/x"],
        ["tail", "--config", "${HOME}/x"],
        ["send", "~/x"],
        ["logs", "~/x"],
    ],
)
def test_a_path_that_no_shell_has_expanded_is_refused_with_the_whole_path(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/lab")
    assert main(arguments) == 2
    assert "write /home/lab/x" in capsys.readouterr().err


def test_a_configuration_of_the_environment_is_refused_likewise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/lab")
    monkeypatch.setenv("STREAMD_CONFIG", "~/x.toml")
    assert main(["check"]) == 2
    assert "write /home/lab/x.toml" in capsys.readouterr().err


def test_a_text_that_begins_with_a_tilde_is_no_path(tmp_path: Path) -> None:
    assert parse(["query", "~x"]).sql == "~x"
    assert parse(["tail", "--where", "$x", "--db", str(tmp_path)]).where == "$x"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("chekc", "check"), ("Status", "status"), ("deadletters", "dead-letters"), ("runs", "run")],
)
def test_a_misspelt_command_is_answered_with_the_one_that_is_meant(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        main([word, "--config", "x.toml"])
    assert exited.value.code == 2
    assert f"there is no command {word} (did you mean {meant}?)" in capsys.readouterr().err
