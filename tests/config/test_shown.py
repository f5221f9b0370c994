"""No text of a user's own table is shown, whatever its name and form."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.cli import _topology
from streamd.config import Loaded, load
from streamd.config.own_options import described
from streamd.config.resolved import resolved, resolved_for_others
from streamd.core.errors import ConfigError

PARAMS = r"""
line = "password: S3CRET"
curl = "-u user:S3CRET"
bot = "https://api.telegram.org/botS3CRET/x"
hook = "https://hooks.slack.com/services/T0/B0/S3CRET"
chat = "https://discord.com/api/webhooks/1/S3CRET"
Passwort = "S3CRET"
"contraseña" = "S3CRET"
mot_de_passe = "S3CRET"
senha = "S3CRET"
key = "S3CRET"
headers = ["Authorization: Basic S3CRET", "X-Api-Key: S3CRET"]
arguments = ["--password", "S3CRET", "-pS3CRET", ["S3CRET"]]
database = "Server=h;Uid=u;Password=S3CRET;"
place = "user:S3CRET@host"
basic = "dXNlcjpTM0NSRVQ="
pem = '''
-----BEGIN RSA PRIVATE KEY-----
S3CRET'''
names = { S3CRET = "alice" }
users = [{ S3CRET = 1 }]
nested = { a = { b = "S3CRET" } }
password = 53273
limit = 5
share = 0.5
quick = true
none = ""
limits = [1, 2.5, false]
"""
FOREIGN = '''
from typing import Any, Literal

from streamd.core.contracts import Step
from streamd.core.settings import DurationS, ListenAddress, Settings
from streamd.functions.options import FunctionOptions
from streamd.sinks.stdout import Stdout


class Inner(Settings):
    x: str = ""


class Post(Step):
    """Posts."""

    class Config(Settings):
        """What it posts."""

        where: str
        to: ListenAddress
        every: DurationS = 1.0
        tries: int = 3
        way: Literal["get", "post"] = "get"
        inner: Inner = Inner()
        more: dict[str, Any] = {}
        hook: str = "https://x/"
        maybe: str | None = None
        token: str | None = None

    def process_one(self, record, now):
        return record


class Out(Stdout):
    """Standard output, for somebody."""

    class Config(Stdout.Config):
        """Its option."""

        channel: str
'''
POST = """
type = "post"
where = "S3CRET"
to = "127.0.0.1:9"
every = "5s"
way = "post"
inner = { x = "S3CRET" }
more = { S3CRET = "S3CRET", n = 1 }
"""


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """A configuration with params, and with a step and a sink of another package."""
    info = tmp_path / "site" / "poster-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "somebodys_post.py").write_text(FOREIGN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: poster\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[streamd.steps]\npost = somebodys_post:Post\n[streamd.sinks]\nout = somebodys_post:Out\n"
    )
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.delitem(sys.modules, "somebodys_post", raising=False)
    monkeypatch.setattr(registry, "load", registry.load.__wrapped__)
    (tmp_path / "own.py").write_text("def work(record, **params):\n    return record\n")
    path = tmp_path / "streamd.toml"
    path.write_text(
        '[sources.token]\ntype = "tcp"\nlisten = "127.0.0.1:0"\n'
        '[sinks.out]\ntype = "out"\nchannel = "S3CRET"\n'
        '[pipelines.main]\nsources = ["token"]\nsinks = ["out"]\n[[pipelines.main.steps]]\ntype = "python"\n'
        f'function = "own.py:work"\n[pipelines.main.steps.params]{PARAMS}[[pipelines.main.steps]]\n{POST}'
        '[[pipelines.main.steps]]\ntype = "filter"\nwhere = "sensor == \'a\'"\n'
        '[[pipelines.main.steps]]\ntype = "set"\nfields = { n = "value + 1", password = "\'S3CRET\'" }\n'
    )
    return load(path)


def secrets_in(text: str) -> list[str]:
    return [secret for secret in ("S3CRET", "dXNlcj", "53273", "alice") if secret in text]


def test_params_are_shown_with_names_numbers_and_lengths(loaded: Loaded) -> None:
    text = resolved_for_others(loaded)
    assert not secrets_in(text)
    params = tomllib.loads(text)["pipelines"]["main"]["steps"][0]["params"]
    assert list(params) == list(tomllib.loads(PARAMS))
    assert params["line"] == "(text of 16 characters)"
    assert params["headers"] == ["(text of 27 characters)", "(text of 17 characters)"]
    assert params["arguments"][3] == ["(text of 6 characters)"]
    assert params["names"] == "(table of 1 key)"
    assert params["users"] == ["(table of 1 key)"]
    assert params["password"] == "(hidden)"  # noqa: S105 - a PIN is a number
    shown = {name: params[name] for name in ("limit", "share", "quick", "none", "limits")}
    assert shown == {"limit": 5, "share": 0.5, "quick": True, "none": "", "limits": [1, 2.5, False]}


def test_options_of_another_package_are_shown_likewise(loaded: Loaded) -> None:
    document: dict[str, Any] = tomllib.loads(resolved_for_others(loaded))
    assert document["pipelines"]["main"]["steps"][1] == {
        "type": "post", "where": "(text of 6 characters)", "to": "127.0.0.1:9", "every": "5s", "tries": 3,
        "way": "post", "inner": "(table of 1 key)", "more": "(table of 2 keys)",
        "hook": "(text of 10 characters)",
    }  # fmt: skip
    sink = document["sinks"]["out"]
    assert (sink["type"], sink["channel"]) == ("out", "(text of 6 characters)")
    assert sink["buffer"]["max_records"] == 65536


def test_streamds_own_options_are_shown(loaded: Loaded) -> None:
    document: dict[str, Any] = tomllib.loads(resolved_for_others(loaded))
    assert document["sources"]["token"]["codec"] == {"type": "auto"}
    steps = document["pipelines"]["main"]["steps"]
    assert (steps[0]["function"], steps[0]["mode"]) == ("own.py:work", "record")
    assert steps[2]["where"] == "sensor == 'a'"
    assert steps[3]["fields"] == {"n": "value + 1", "password": "(hidden)"}


def test_check_draws_no_secret(loaded: Loaded) -> None:
    lines = "\n".join(_topology.lines(loaded, "utf-8"))
    assert not secrets_in(lines + json.dumps(_topology.describe(loaded)))
    assert 'channel = "(text of 6 characters)"' in lines
    assert 'every = "5s"' in lines
    assert "where = \"sensor == 'a'\"" in lines


def test_the_whole_configuration_is_for_its_owner_and_loads_again(loaded: Loaded) -> None:
    text = resolved(loaded)
    assert len(secrets_in(text)) == 4
    loaded.path.write_text(text)
    again = load(loaded.path).config
    steps, before = again.pipelines["main"].steps, loaded.config.pipelines["main"].steps
    assert [step.options["params"] for step in steps[:1]] == [before[0].options["params"]]
    assert steps[1].options["hook"] == "https://x/"
    assert again.sinks["out"] == loaded.config.sinks["out"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('way = "post"', 'token = "$S3CRET"'),
        ('way = "post"', 'token = "https://S3CRET/"'),
        ('way = "post"', 'way = "S3CRET"'),
        ('way = "post"', 'tries = "S3CRET"'),
        ('type = "out"', 'type = "sqlite"\npath = "postgres://me:S3CRET@h/x"'),
        ('channel = "S3CRET"', "channel = { S3CRET = 1 }"),
    ],
)
def test_a_message_about_a_wrong_value_quotes_no_secret(loaded: Loaded, old: str, new: str) -> None:
    text = loaded.path.read_text()
    assert old in text
    loaded.path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        load(loaded.path)
    assert not secrets_in(str(refused.value))


def test_a_value_that_is_empty_or_no_text_is_shown() -> None:
    values: list[Any] = ["", {}, [], None, 0, False, 1.5, [True, []]]
    assert [described(value) for value in values] == values
    assert described(["a" * 1000, {"a": 1, "b": 2}]) == ["(text of 1,000 characters)", "(table of 2 keys)"]
