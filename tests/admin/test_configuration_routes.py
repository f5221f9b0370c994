import asyncio
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.admin.server import AdminServer
from streamd.admin.view import ReloadFailure
from streamd.core.errors import ConfigError, EnvironmentFault
from tests.admin.test_server import Until, get
from tests.backing import Work

SECRETS = ["hunter2", "tok-0123456789", "s3cr3t-value", "0123456789abcdef0123456789abcdef", "KEYCONTENT"]
PARAMS = """
password = "hunter2", url = "https://u:s3cr3t-value@h/", api = { token = "tok-0123456789" }, a = "b"
""".strip()
STEPS = f'steps = [{{ type = "python", function = "own.py:work", params = {{ {PARAMS} }} }}]\n'


async def ask(server: AdminServer, target: str, method: str = "GET") -> tuple[int, Any]:
    code, body, headers = await get(server, target, method, Authorization=f"Bearer {server.token.text}")
    return code, json.loads(body) if headers["Content-Type"] == "application/json" else body.decode()


async def test_the_configuration_is_whole_and_without_any_secret(
    make_server: Callable[..., AdminServer], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text("def work(record, params):\n    return record\n")
    for name, content in (("page.token", SECRETS[3]), ("hash.key", f"{SECRETS[4]} of a redaction")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "streamd.test.toml").write_text('[[tests]]\nname = "a beside test"\n')
    tests = '[[tests]]\nname = "a test"\ninputs = []\n'
    server = make_server(token="page.token", more=STEPS + tests)  # noqa: S106 - the name of a file
    await server.open()
    try:
        code, document = await ask(server, "/configuration")
    finally:
        await server.close()
    assert code == 200
    assert not [secret for secret in SECRETS if secret in json.dumps(document)]
    assert document["path"] == str(tmp_path / "streamd.toml")
    assert document["loaded_at"] == "2023-11-14T21:56:40+00:00"
    assert document["tests"] == ["a test", "a beside test"]
    written = tomllib.loads(document["text"])
    assert written["admin"]["token"] == "page.token"  # noqa: S105 - the name of a file
    assert written["sources"]["lab"]["buffer"]["max_records"] == 65536
    params = written["pipelines"]["main"]["steps"][0]["params"]
    assert params == {
        "password": "(hidden)", "url": "(text of 25 characters)", "api": "(table of 1 key)",
        "a": "(text of 1 character)",
    }  # fmt: skip


async def test_a_configuration_without_a_token_names_none(server: AdminServer) -> None:
    written = tomllib.loads((await ask(server, "/configuration"))[1]["text"])
    assert written["admin"] == {"listen": "127.0.0.1:0", "names": []}


async def test_why_a_reload_failed_is_shown_with_the_token(server: AdminServer, world: Any) -> None:
    assert (await ask(server, "/configuration"))[1]["reload_failure"] is None
    world.view.reload_failure = ReloadFailure(1.0, "a.toml:1: no\na.toml:2: no")
    assert (await ask(server, "/configuration"))[1]["reload_failure"] == ["a.toml:1: no", "a.toml:2: no"]


async def test_tests_run_longer_than_other_answers(server: AdminServer, work: Work, until: Until) -> None:
    work.may_end.clear()
    running = asyncio.create_task(ask(server, "/tests", "POST"))
    connections = server._exchange.connections
    await until(lambda: any(each.tasks and each._deadline is None for each in connections))
    work.may_end.set()
    assert await running == (200, {"passed": 2, "failed": 0, "report": "passed  a"})
    assert server.refused == {}


@pytest.mark.parametrize(("kind", "code"), [(ConfigError, 422), (EnvironmentFault, 503)])
async def test_tests_that_cannot_run_say_why(
    server: AdminServer, work: Work, kind: type[Exception], code: int
) -> None:
    work.error = kind("there is no test")
    assert await ask(server, "/tests", "POST") == (code, "there is no test\n")
