import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd import registry
from streamd.core.contracts import Processed, StepContext
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.now import Now
from streamd.core.schema import FieldSettings, Schema

NewStep = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [
    {"rules": [{"detect": ["email", "ip", "card", "phone", "iban"], "action": "mask"}]},
    {"rules": [{"fields": ["n"], "action": "mask", "keep_last": 2}, {"fields": ["t"], "action": "drop"}]},
]
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0\n"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "redact.key"
    path.write_text(KEY)
    path.chmod(0o600)
    return path


def test_rules_redact_fields_and_found_texts_and_count(
    new_step: NewStep, now: Now, key: Path, assert_exact: Callable[[int, Processed], None]
) -> None:
    step = new_step(
        "redact",
        key=key.name,
        rules=[
            {"fields": ["user"], "action": "hash"},
            {"fields": ["client"], "action": "truncate"},
            {"fields": ["note"], "action": "drop"},
            {"detect": ["email", "card"], "action": "mask", "mask": "[gone]"},
        ],
    )
    step.open()
    records = [
        {
            "user": "ann",
            "client": "192.0.2.17",
            "note": 1,
            "text": "ann@example.com paid",
            "@peer": "192.0.2.9:5",
        },
        {"user": "ann", "client": "2001:db8:1:2::3", "text": "4111 1111 1111 1111"},
        {"user": None, "temp": 20.5},
    ]
    done = step.process(copy.deepcopy(records), now)
    first, second, third = done.records
    assert first == {
        "user": second["user"], "client": "192.0.2.0", "text": "[gone] paid", "@peer": "192.0.2.9:5",
    }  # fmt: skip
    assert second == {"user": first["user"], "client": "2001:db8:1::", "text": "[gone]"}
    assert third == {"user": None, "temp": 20.5}
    assert len(first["user"]) == 32
    assert_exact(3, done)
    assert step.context.counters.numbers() == {
        "redacted": {"hash_user": 2, "truncate_client": 2, "drop_note": 1, "mask_email_card": 2}
    }


def test_one_value_and_key_have_one_hash_over_restarts_and_another_key_another(
    new_step: NewStep, now: Now, key: Path
) -> None:
    rules = [{"fields": ["user", "other"], "action": "hash"}]

    def hashes() -> dict[str, str]:
        step = new_step("redact", key="redact.key", rules=rules)
        step.open()
        record: dict[str, str] = step.process_one({"user": "ann", "other": "ann"}, now)
        return record

    first = hashes()
    assert first["user"] == first["other"]
    assert hashes() == first
    key.write_text(KEY.replace("0f", "ff"))
    assert hashes()["user"] != first["user"]
    assert KEY.strip() not in repr(first)


def test_a_changed_key_makes_the_step_anew(new_step: NewStep, key: Path) -> None:
    step = new_step("redact", key="redact.key", rules=[{"fields": ["user"], "action": "hash"}])
    assert step.is_current()
    step.open()
    key.write_text(KEY.strip())
    assert step.is_current()
    key.write_text(KEY.upper())
    assert not step.is_current()
    key.unlink()
    assert not step.is_current()
    assert new_step("redact", rules=[{"fields": ["user"], "action": "drop"}]).is_current()


def test_a_key_from_the_service_manager(
    new_step: NewStep, now: Now, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [{"fields": ["user"], "action": "hash"}]
    step = new_step("redact", key={"credential": "redact.key"}, rules=rules)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(EnvironmentFault, match=r"redact\[0\]: the credential 'redact.key' is missing"):
        step.rehearse()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(key.parent))
    step.rehearse()
    other = new_step("redact", key="redact.key", rules=rules)
    assert step.process_one({"user": "a"}, now) == other.process_one({"user": "a"}, now)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0, "No such file or directory; `openssl rand -hex 32` makes one"),
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (b"0123456789abcde\n", 0o600, "has 15 bytes, and needs at least 16"),
        (b"\0" * 64, 0o600, "repeats few bytes"),
        (b"0123456789abcdef" * 300, 0o600, "is longer than 4096 bytes"),
        (KEY.encode(), 0o644, r"is open to all users \(mode 0644\): run chmod o-rwx"),
        (KEY.encode(), 0o602, "is open to all users"),
    ],
)
def test_a_key_that_protects_nothing_is_refused(
    new_step: NewStep, tmp_path: Path, content: bytes | None, mode: int, words: str
) -> None:
    path = tmp_path / "redact.key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    step = new_step("redact", key="redact.key", rules=[{"fields": ["user"], "action": "hash"}])
    with pytest.raises(EnvironmentFault, match=words) as refused:
        step.rehearse()
    assert "pipelines.readings: redact[0]: the key " in str(refused.value)
    if content and len(content.strip()) > 10:
        assert content.decode().strip() not in str(refused.value)


def test_a_key_that_is_no_file_does_not_block(new_step: NewStep, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "redact.key", 0o600)
    step = new_step("redact", key="redact.key", rules=[{"fields": ["user"], "action": "hash"}])
    with pytest.raises(EnvironmentFault, match="is no regular file"):
        step.open()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rules": []}, "at least 1 item"),
        ({"rules": [{"action": "mask"}]}, "needs fields, detect or both"),
        ({"rules": [{"fields": ["a"]}]}, "action"),
        ({"rules": [{"fields": [], "action": "mask"}]}, "at least 1 item"),
        ({"rules": [{"fields": ["a", "a"], "action": "mask"}]}, "occurs twice"),
        ({"rules": [{"fields": ["@peer"], "action": "mask"}]}, "metadata, which no step changes"),
        ({"rules": [{"detect": ["ip", "ip"], "action": "mask"}]}, "occurs twice"),
        ({"rules": [{"detect": ["name"], "action": "mask"}]}, "'email', 'ip', 'card', 'phone' or 'iban'"),
        ({"rules": [{"fields": ["a"], "action": "blur"}]}, "'mask', 'hash', 'truncate' or 'drop'"),
        ({"rules": [{"fields": ["a"], "action": "mask", "hash_length": 40}]}, "is for action = 'hash'"),
        ({"rules": [{"fields": ["a"], "action": "drop", "keep_last": 4}]}, "is for action = 'mask'"),
        ({"rules": [{"fields": ["a"], "action": "drop", "mask": "x"}]}, "is for action = 'mask'"),
        ({"rules": [{"fields": ["a"], "action": "mask", "ipv4_prefix": 8}]}, "is for action = 'truncate'"),
        ({"rules": [{"detect": ["ip"], "action": "truncate", "mask": "x"}]}, "has no effect"),
        ({"rules": [{"detect": ["ip", "email"], "action": "truncate"}]}, "only addresses can be truncated"),
        ({"rules": [{"detect": ["ip"], "action": "mask", "nested": True}]}, "has no effect without fields"),
        ({"rules": [{"fields": ["a"], "action": "hash"}]}, "needs a key"),
        ({"key": "k", "rules": [{"fields": ["a"], "action": "mask"}]}, "'key' has no effect"),
        ({"rules": [{"fields": ["a"], "action": "mask"}] * 2}, "two rules have the name 'mask_a'"),
    ],
)
def test_options_without_sense_are_refused(new_step: NewStep, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        new_step("redact", **options)


def test_a_name_that_no_record_has_is_refused_unless_it_is_inside_of_an_object(new_step: NewStep) -> None:
    known = frozenset({"user", "host"})

    def make(**more: Any) -> Any:
        return new_step("redact", known, rules=[{"fields": ["host", "usr"], "action": "mask", **more}])

    with pytest.raises(ConfigError, match="did you mean 'user'") as refused:
        make()
    assert refused.value.keys == ("rules", 0, "fields")
    make(nested=True)
    with pytest.raises(ConfigError, match="did you mean 'user'"):
        make(nested=False)


def test_dropped_names_are_gone_afterwards(new_step: NewStep) -> None:
    known = frozenset({"user", "host", "ip"})
    rules = [
        {"fields": ["user"], "action": "drop"},
        {"fields": ["ip"], "detect": ["ip"], "action": "drop"},
        {"fields": ["host"], "action": "mask"},
    ]
    assert new_step("redact", known, rules=rules).fields_after() == frozenset({"host", "ip"})
    assert new_step("redact", rules=rules).fields_after() is None


TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "ann@example.com",
        "192.0.2.1",
        "4111111111111111",
        "+49 171 2345678",
        "DE89370400440532013000",
        "\ud800",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(st.sampled_from(["user", "text", "ann@example.com"]), VALUES), max_size=4)
ALL_RULES = [
    {"fields": ["user"], "action": "hash"},
    {"fields": ["text"], "detect": ["ip"], "action": "truncate"},
    {"detect": ["card", "phone"], "action": "mask", "keep_last": 3},
    {"detect": ["email", "iban"], "action": "mask"},
]


@settings(max_examples=60)
@given(records=RECORDS, cut=st.integers(0, 4))
def test_batches_do_not_matter_and_a_second_time_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], cut: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "redact"
    folder.mkdir(exist_ok=True)
    if not (path := folder / "redact.key").exists():
        path.write_text(KEY)
        path.chmod(0o600)
    cls = registry.load("steps", "redact")
    now = Now(1.7e9, 1.0)
    step = cls(
        cls.Config.model_validate({"key": "redact.key", "rules": ALL_RULES}),
        StepContext("redact[0]", "p", None, folder),
    )
    before = copy.deepcopy(records)
    whole = step.process(records, now).records
    assert repr(records) == repr(before)
    parts = step.process(records[:cut], now).records + step.process(records[cut:], now).records
    assert repr(parts) == repr(whole)
    assert repr(step.process(whole, now).records) == repr(whole)
    shown = repr(whole)
    assert "ann@example.com" not in shown
    assert "4111111111111111" not in shown


def test_the_schema_of_the_sources_names_the_fields(tmp_path: Path) -> None:
    cls = registry.load("steps", "redact")
    schema = Schema("s", {"user": FieldSettings(type="str")})
    context = StepContext("redact[0]", "p", schema, tmp_path, frozenset({"user"}))
    with pytest.raises(ConfigError, match="there is no field 'name'"):
        cls(cls.Config(rules=[{"fields": ["name"], "action": "drop"}]), context)
