import re
from pathlib import Path

import pytest
from starlette.applications import Starlette

from streamd.admin.page_routes import FOLDER, TYPES, PageRoutes
from streamd.admin.server import AdminServer
from tests.admin.test_server import get, raw


async def test_the_page_is_served_with_headers_that_forbid_foreign_content(server: AdminServer) -> None:
    code, body, headers = await get(server, "/")
    assert (code, body) == (200, (FOLDER / "index.html").read_bytes())
    assert headers.get_all("Content-Type") == ["text/html; charset=utf-8"]
    assert headers.get_all("Cache-Control") == ["no-store"]
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_every_file_of_the_page_is_served_as_its_kind(server: AdminServer) -> None:
    served = [path for path in FOLDER.rglob("*") if path.suffix in TYPES]
    assert FOLDER / "index.html" in served
    for path in served:
        code, body, headers = await get(server, f"/page/{path.relative_to(FOLDER).as_posix()}")
        assert (code, body) == (200, path.read_bytes())
        assert headers["Content-Type"] == TYPES[path.suffix]


@pytest.mark.parametrize(
    "name",
    ["", "nothing.js", "../server.py", "..%2fadmin%2fserver.py", "/etc/passwd", "./index.html", "a\\b"],
)
async def test_no_name_leads_out_of_the_folder(server: AdminServer, name: str) -> None:
    answer = await raw(server, f"GET /page/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_other_kinds_of_files_are_not_served(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    for name in ("index.html", "vendor/a.js", "vendor/b.py", "notes.md~", ".env"):
        (tmp_path / name).write_text(name)
    app = Starlette(routes=PageRoutes(tmp_path).routes())
    found = {name: await _code(app, f"/page/{name}") for name in ("vendor/a.js", "vendor/b.py", ".env")}
    assert found == {"vendor/a.js": 200, "vendor/b.py": 404, ".env": 404}


async def _code(app: Starlette, path: str) -> int:
    from streamd.admin.stack import WrongRequest  # noqa: PLC0415 - heavy

    sent: list[int] = []

    async def send(message: object) -> None:
        found = re.search(r"'status': (\d+)", str(message))
        sent.extend([int(found[1])] if found else [])

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    try:
        await app(scope, receive, send)
    except WrongRequest as error:
        return error.code
    return sent[0]
