"""The option `redact` of sources, from the configuration to the parts that are made of it."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from streamd import config
from streamd.assembly import Assembly, assemble
from streamd.components import _check_counters, make, redaction_of
from streamd.core.books import Books
from streamd.core.clock import read_clock
from streamd.core.dead_letter import LetterList
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.peer import Peer
from streamd.core.shared import Shared
from streamd.preparing.converted_frames import ConvertedFrames
from streamd.sqlite.databases import Databases


def test_the_gauges_of_a_step_have_names_of_their_own() -> None:
    class Two:
        counters: ClassVar = {"seen": "records"}
        gauges: ClassVar = {"seen": "share of records"}

    with pytest.raises(ConfigError, match="Two: the gauge 'seen' has the name of a counter"):
        _check_counters(Two)
    for name, fault in (("retrying", "has the name of a metric of streamd"), ("Seen", "use a to z")):
        Two.counters, Two.gauges = {}, {name: "tries"}
        with pytest.raises(ConfigError, match=f"Two: the gauge '{name}':? {fault}"):
            _check_counters(Two)


CONFIG = """
[admin]
listen = "none"
[schemas.reading]
name = {{ type = "str", required = false }}
value = "float"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
{redact}
[pipelines.main]
sources = ["lab"]
steps = [{steps}]
sinks = ["readings"]
[sinks.readings]
type = "sqlite"
path = "streamd.db"
table = "readings"
schema = "reading"
"""
MASK = 'rules = [{ fields = ["name"], action = "mask" }]'
DROP = 'rules = [{ fields = ["name"], action = "drop" }]'


class Nowhere:
    """A store of dead letters that gets none."""


def loaded(folder: Path, redact: str, steps: str = "") -> config.Loaded:
    path = folder / "streamd.toml"
    path.write_text(CONFIG.format(redact=redact, steps=steps))
    return config.load(path)


def assembled(folder: Path, redact: str, steps: str = "") -> Assembly:
    letters: Any = Nowhere()
    made = loaded(folder, redact, steps)
    return assemble(made, Books(), letters, Shared(Databases()), read_clock, None)


@pytest.mark.parametrize(
    ("redact", "typed", "redacted", "peer"),
    [
        ("", True, False, "192.0.2.7:5"),
        ('redact.peer = "truncate"', True, False, "192.0.2.0:0"),
        ('redact.peer = "drop"', True, False, ""),
        (f"redact = {{ {MASK} }}", False, True, "192.0.2.0:0"),
        (f'redact = {{ {MASK}, peer = "keep" }}', False, True, "192.0.2.7:5"),
    ],
)
def test_rules_give_up_the_flat_lane_and_a_redacted_sender_does_not(
    tmp_path: Path, redact: str, *, typed: bool, redacted: bool, peer: str
) -> None:
    (feed,) = assembled(tmp_path, redact).workers["main"].feeds
    assert (feed.codec.typed, feed.codec.redacted) == (typed, redacted)
    if feed.redaction is None:
        assert not redact
    else:
        assert feed.redaction.changes_records == redacted
        assert (feed.redaction.peer or Peer)(Peer("192.0.2.7:5")) == peer


@pytest.mark.parametrize(
    ("redact", "said"),
    [
        ('redact = { peer = "keep" }', "redact: without rules and with peer = 'keep' nothing is redacted"),
        ('redact = { peer = "hash" }', 'a hash needs a key: write key = "redact.key"'),
        ('redact = { peer = "drop", key = "redact.key" }', "'key' has no effect"),
        ('redact = { peer = "mask" }', "sources.lab.redact.peer"),
        (
            'redact = { rules = [{ fields = ["value", "nam"], action = "drop" }] }',
            "sources.lab.redact.rules[0].fields",
        ),
    ],
)
def test_an_option_without_effect_or_with_an_unknown_field_is_refused(
    tmp_path: Path, redact: str, said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        assembled(tmp_path, redact)
    assert said in str(refused.value)


def test_a_step_cannot_name_a_field_that_the_source_has_dropped(tmp_path: Path) -> None:
    step = '{ type = "filter", where = "name is not None" }'
    assembled(tmp_path, f"redact = {{ {MASK} }}", step)
    with pytest.raises(ConfigError, match="name"):
        assembled(tmp_path, f"redact = {{ {DROP} }}", step)


def test_a_missing_key_names_its_source(tmp_path: Path) -> None:
    made = loaded(tmp_path, 'redact = { peer = "hash", key = "redact.key" }')
    with pytest.raises(EnvironmentFault, match=r"^source lab: the key .*redact\.key cannot be read"):
        redaction_of(made, "lab")
    (tmp_path / "redact.key").write_bytes(b"0123456789abcdef")
    (tmp_path / "redact.key").chmod(0o600)
    found = redaction_of(made, "lab")
    assert found is not None
    assert found.peer is not None
    assert len(found.peer(Peer("192.0.2.7:5"))) == 32


def test_redact_with_converted_frames_needs_dead_letters_without_payloads(tmp_path: Path) -> None:
    for options in ('encoding = "latin-1"', 'decompress = "gzip"'):
        with pytest.raises(ConfigError, match=r"dead_letters\.payload.*redact finds nothing in dead letters"):
            assembled(tmp_path, f"redact = {{ {MASK} }}\n{options}")
        codec = converted_codec(tmp_path, f'redact = {{ {MASK} }}\ndead_letters.payload = "none"\n{options}')
        assert isinstance(codec, ConvertedFrames)
        assert codec.redacted


def converted_codec(folder: Path, options: str) -> object:
    (feed,) = assembled(folder, options).workers["main"].feeds
    return feed.codec


STREAM = """
[admin]
listen = "none"
[sources.lab]
type = "tcp"
listen = "127.0.0.1:0"
{options}
[pipelines.main]
sources = ["lab"]
sinks = ["out"]
[sinks.out]
type = "stdout"
"""


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ('framing = "length_prefix"', "the frames of the framing length_prefix are no lines"),
        ('framing = "msgpack"', "the frames of the framing msgpack are no lines"),
        ('codec = "msgpack"', "the codec msgpack reads no text"),
        ('codec = { type = "struct", layout = "<I n" }', "the codec struct reads no text"),
        ('codec = "csv"', "the codec csv keeps frames"),
        ('codec = { type = "csv", columns = ["a"] }', ""),
        ('codec = "json"', ""),
        ('framing = "nul"', ""),
    ],
)
def test_lines_are_joined_only_where_there_are_lines(tmp_path: Path, options: str, why: str) -> None:
    path = tmp_path / "streamd.toml"
    path.write_text(STREAM.format(options=f"multiline.start = 'a'\n{options}"))
    made = make(config.load(path), LetterList(), Shared())
    assert [(problem.place, why in problem.text) for problem in made.problems] == (
        [(("sources", "lab", "multiline"), True)] if why else []
    )


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_zstd_without_its_package_is_a_problem_of_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def missing() -> None:
        raise ConfigError("needs the package", ("decompress",))

    monkeypatch.setattr("streamd.components.require_zstd", missing)
    text = STREAM.format(options='decompress = "zstd"').replace('type = "tcp"', f'type = "{kind}"')
    path = tmp_path / "streamd.toml"
    path.write_text(text)
    (problem,) = make(config.load(path), LetterList(), Shared()).problems
    assert problem.place == ("sources", "lab", "decompress")
