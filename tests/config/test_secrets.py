from typing import Any

import pytest

from streamd.config.secrets import HIDDEN, hidden, in_text, is_secret

HIDDEN_NAMES = """
password db_password dbPassword DB_PASSWORD mypassword passwd pwd pass passphrase token api_token
accessToken apitoken secret client_secret clientSecret api_key apiKey API_KEY apikey x-api-key
private_key privatekey access_key AccessKey shared_key authorization auth credential credentials dsn
connection_string connectionString salt psk signature cookie pin
"""
SHOWN_NAMES = """
key keys key_file sensor path passed passive bypass_s author authority monkey keyboard primary_key
key_columns compass spin basalt max_records x
"""


@pytest.mark.parametrize("name", HIDDEN_NAMES.split())
def test_a_value_with_the_name_of_a_secret_is_hidden(name: str) -> None:
    assert is_secret(name)
    for value in ("hunter2", 1234, 1.5, ["a", "b"], {"user": "x", "value": "y"}, ""):
        table = {"pipelines": {"main": {"steps": [{"type": "python", "params": {name: value}}]}}}
        assert hidden(table) == {
            "pipelines": {"main": {"steps": [{"type": "python", "params": {name: HIDDEN}}]}}
        }


@pytest.mark.parametrize("name", SHOWN_NAMES.split())
def test_other_values_are_shown(name: str) -> None:
    assert not is_secret(name)
    table = {"sinks": {"x": {name: "plain text"}}}
    assert hidden(table) == table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://me:hunter2@db:5432/x?a=b", f"postgres://{HIDDEN}@db:5432/x?a=b"),
        ("https://ghtoken@host/x", f"https://{HIDDEN}@host/x"),
        ("host=db user=me password=hunter2 port=1", f"host=db user=me password={HIDDEN} port=1"),
        ("Server=a;PWD = hunter2;X=1", f"Server=a;PWD = {HIDDEN};X=1"),
        ("https://h/x?sig=abc%3D&a=1", f"https://h/x?sig={HIDDEN}&a=1"),
        ("Bearer abcdefgh12345678", f"Bearer {HIDDEN}"),
        ("Authorization: Basic aHVudGVyMjpwYXNz", f"Authorization: Basic {HIDDEN}"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----", HIDDEN),
        ("AKIAIOSFODNN7EXAMPLE", HIDDEN),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", HIDDEN),
        ("ghp_0123456789abcdefghijklmnopqrstuvwxyz", HIDDEN),
        ("value > 3 and sensor == 'a'", "value > 3 and sensor == 'a'"),
        ("tcp://127.0.0.1:9999", "tcp://127.0.0.1:9999"),
        ("a basic test", "a basic test"),
        ("/var/lib/streamd/out-%Y.db", "/var/lib/streamd/out-%Y.db"),
        ("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"),
    ],
)
def test_secrets_within_texts_are_hidden(text: str, shown: str) -> None:
    assert in_text(text) == shown
    assert hidden({"sources": {"x": {"params": {"url": [text]}}}}) == {
        "sources": {"x": {"params": {"url": [shown]}}}
    }


def test_a_key_that_looks_random_is_hidden_and_the_key_of_a_step_is_not() -> None:
    steps = [{"key": "8f14e45fceea167a5a36dedd4bea2543"}, {"key": "sensor"}, {"key": ["a", "b"]}]
    assert hidden({"pipelines": {"main": {"steps": steps}}}) == {
        "pipelines": {"main": {"steps": [{"key": HIDDEN}, *steps[1:]]}}
    }


@pytest.mark.parametrize(
    "table",
    [
        {"admin": {"token": "/etc/streamd/page.token"}},
        {"admin": {"token": {"credential": "page"}}},
        {"sources": {"in": {"redact": {"key": {"credential": "hash"}}}}},
        {"sources": {"auth": {"type": "udp"}, "token": {"type": "tcp"}}},
        {"schemas": {"login": {"password": "str", "token": {"type": "str"}}}},
        {"sinks": {"x": {"secret": True}}},
    ],
)
def test_files_names_of_components_and_types_are_shown(table: dict[str, Any]) -> None:
    assert hidden(table) == table
