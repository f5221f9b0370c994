"""Arguments that make no sense end in one sentence, and never in a traceback."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamd.cli import main

NUMBERS = ["-1", "0", "1e9999", "nan", "", "x", "9" * 40, "1.5", "٣", "--", "-0", " 1", "1_000", "inf"]
PLACES = ["missing", "folder", "text", "bytes", "", "x/y", "/dev/null/x", "n" * 300, "loop"]
SEND = ["send", "--generate", "--to", "127.0.0.1:1"]

OF_NUMBERS = [
    [*SEND, "--rate="], [*SEND, "--count="], [*SEND, "--connections="], [*SEND, "--sensors="],
    ["tail", "t", "--db", "a.db", "-n"], ["query", "select 1", "--db", "a.db", "--limit="],
    ["tap", "source:x", "--socket", "missing", "--rate="],
    ["tap", "source:x", "--socket", "missing", "--once="],
    ["dead-letters", "list", "--db", "a.db", "--limit="], ["dead-letters", "list", "--db", "a.db", "-n"],
    ["dead-letters", "replay", "--limit="], ["plot", "select 1", "--db", "a.db", "--limit="],
    ["send", "--generate", "plant", "--to", "127.0.0.1:1", "--minutes="],
    *(["dead-letters", *words, ""] for words in (["show"], ["edit"], ["replay"], ["purge", "--yes"])),
    ["state", "drop", "--yes", ""],
]  # fmt: skip
SEEDS = [*SEND, "--count=1", "--seed="]
TIMES = [
    "-1s", "1e9999s", "nan", "inf", "", "x", "9" * 40, "9" * 40 + "s", "1.5", "٣s", "--", "1_0s", "5",
    "1 s s", "0000-00-00", "2026-13-01T00:00:00Z", "-0",
]  # fmt: skip
OF_TIMES = [
    *(["dead-letters", word, "--since="] for word in ("list", "count", "replay", "purge")),
    *(["capacity", f"--{name}="] for name in ("since", "over", "for", "step-cost")),
    ["capacity", "--stall=out="], ["capacity", "--burst=5/"], ["capacity", "--burst=5@"],
]  # fmt: skip
OF_AMOUNTS = [
    ["capacity", "--rate="], ["capacity", "--burst="], ["capacity", "--frame-size="],
    ["capacity", "--sheet="], ["capacity", "--sheet", ""], ["capacity", "--figure="],
    ["capacity", "--sheet=1/s", "--figure=machine_cores="],
]  # fmt: skip
OF_OUTPUTS = [
    ["query", "select 1", "--db", "a.db", "--output="], ["plot", "select 1", "--db", "a.db", "--output="],
    ["test", "--config=streamd.toml", "--junit="], ["bench", "--only", "start", "--json="],
    ["capacity", "--rate", "×2", "--output="],
    ["send", "--generate", "plant", "--to", "127.0.0.1:1", "--faults="],
    ["install-service", "--config=streamd.toml", "--dry-run", "--prefix="],
]  # fmt: skip
BAD_OUTPUTS = ["folder", "", "x/y.png", "/dev/null/x.svg", "n" * 300 + ".png", "loop"]
OF_PLACES = [
    ["send", "--to", "127.0.0.1:1", ""], ["send", "text", "--to="], ["tail", "t", "--db="],
    ["tail", "--config="],
    ["query", "select 1", "--db="], ["plot", "select 1", "--db="], ["tap", "x", "--socket="],
    ["tap", "x", "--config="], ["top", "--socket="], ["try", "--config="], ["state", "list", "--db="],
    ["dead-letters", "list", "--db="], ["dead-letters", "replay", "1", "--config="],
    ["capacity", "--rate", "×2", "--bench="],
    ["capacity", "--socket="], ["status", "--socket="], ["check", "--config="], ["doctor", "--config="],
    ["run", "--config="], ["test", "--config="], ["reload", "--config="], ["page", "--config="],
    ["page", "--socket="], ["reload", "--socket="], ["status", "--config="], ["top", "--config="],
    ["query", "select 1", "--config="], ["plot", "select 1", "--config="], ["state", "list", "--config="],
    ["state", "drop", "1", "--yes", "--db="], ["dead-letters", "list", "--config="],
    ["dead-letters", "count", "--db="], ["dead-letters", "show", "1", "--db="],
    ["dead-letters", "purge", "--yes", "1", "--db="], ["dead-letters", "edit", "1", "--with="],
    ["capacity", "--rate", "×2", "--ledger="], ["capacity", "--sheet", "1/s", "--bench="],
    ["capacity", "--config="], ["install-service", "--dry-run", "--config="],
]  # fmt: skip
OTHERS = [
    *(["send", "--generate", "--count=1", f"--to={to}"] for to in ("host", "host:", "h:x", "h:70000", "udp://")),
    ["send", "--generate", "unix:///" + "a" * 200], ["state", "drop", "x"],
    ["bench", "--only", "start", "--dir", "missing"], ["bench", "--only", "start", "--dir", "text"],
    ["bench", "--only", "start", "--dir="], ["logs", "missing"], ["logs", "folder"], ["logs", ""],
    ["plot", "select a from t", "--db", "a.db", "--x", "z"],
    ["plot", "select a from t", "--db", "a.db", "--by="],
    ["plot", "select a from t", "--db", "a.db", "--output", "x.gif"],
    ["plot", "select a from t", "--db", "a.db", "--output", "/dev/null/x.png"], ["query", "", "--db", "a.db"],
    ["query", "select 1; select 2", "--db", "a.db"], ["tail", "none", "--db", "a.db"],
    ["tail", "", "--db", "a.db"],
    ["tail", "t", "--db", "a.db", "--where", "a >"], ["tap", "x", "--fields=,", "--socket", "missing"],
    ["dead-letters", "replay", "x"], ["try", "--source", "none", "--config", "streamd.toml"],
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("text").write_text("hello\n")
    Path("bytes").write_bytes(bytes(range(256)))
    Path("loop").symlink_to("loop")
    with closing(sqlite3.connect("a.db")) as connection:
        connection.execute("CREATE TABLE t (a, b)")
        connection.commit()
    Path("streamd.toml").write_text(
        f'[daemon]\nstate_dir = "{tmp_path}"\n[sources.lab]\ntype = "generate"\n'
        '[sinks.out]\ntype = "stdout"\n[pipelines.main]\nsources = ["lab"]\nsinks = ["out"]\n'
    )


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command, and what it says behind its usage."""
    try:
        code = main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr().err
    assert code in (1, 2), (words, said)
    assert "Traceback" not in said
    assert "[Errno" not in said
    sentence = said.strip().splitlines()[-1]
    assert sentence
    assert len(sentence) < 700, (words, said)
    return code, sentence


@pytest.mark.parametrize("words", OF_NUMBERS, ids=" ".join)
def test_a_number_that_is_none_is_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for number in NUMBERS:
        if number == "0" and words[-1] == "-n":
            continue  # no records, which tail -f is asked for
        code, sentence = refused([*words[:-1], words[-1] + number], capsys)
        assert code == 2, (words, number, sentence)


@pytest.mark.parametrize("words", [SEEDS, *OF_AMOUNTS], ids=" ".join)
def test_an_amount_that_is_none_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for amount in [
        *NUMBERS,
        "×nan",
        "-1/s",
        "inf/s",
        "1e999/s",
        "-5MiB",
        "9" * 30 + "GiB",
        "1/0",
        "=",
        "a=b=c",
    ]:
        refused([*words[:-1], words[-1] + amount], capsys)


@pytest.mark.parametrize("words", OF_TIMES, ids=" ".join)
def test_a_time_that_is_none_is_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for time in TIMES:
        code, sentence = refused([*words[:-1], words[-1] + time], capsys)
        assert code == 2, (words, time, sentence)


@pytest.mark.parametrize("words", OF_OUTPUTS, ids=" ".join)
def test_an_output_that_cannot_be_written_is_one_sentence(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for place in BAD_OUTPUTS:
        refused([*words[:-1], words[-1] + place], capsys)


@pytest.mark.parametrize("words", OF_PLACES, ids=" ".join)
def test_a_file_that_cannot_be_used_is_one_sentence(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for place in PLACES:
        refused([*words[:-1], words[-1] + place], capsys)


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_other_odd_arguments_are_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    refused(words, capsys)
