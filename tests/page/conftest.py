"""A real Chromium, started once for a module, and a daemon whose page it shows."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import Daemon, starter, until

TIMEOUT_MS = 20_000
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = b'{"sensor":"<img src=x onerror=document.title=1>","value":"<script>1</script>"}'
CONFIG = """
[admin]
listen = "127.0.0.1:0"
[schemas.reading]
sensor = "str"
value = { type = "float", le = 100 }
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["readings", { name = "warm", where = "value > 20" }]
steps = [{ type = "filter", where = "sensor != 'quiet'" }]
[sinks.readings]
type = "sqlite"
path = "streamd.db"
table = "readings"
columns = { sensor = "str", value = "any" }
metadata = true
[sinks.warm]
type = "file"
path = "warm.jsonl"
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser {CHROMIUM}; Debian's package chromium has it")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def start_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Daemon]]:
    yield from starter(tmp_path_factory.mktemp("daemon"))


class Shown:
    """The page of a daemon in a browser, with what went wrong in it."""

    def __init__(self, page: Any, daemon: Daemon) -> None:
        self.page = page
        self.daemon = daemon
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    @property
    def token(self) -> str:
        return (self.daemon.folder / "var" / "admin.token").read_text().strip()

    def open(self, *, token: str | None = None) -> None:
        """Load the page and wait until it shows the daemon's figures."""
        fragment = self.token if token is None else token
        self.page.goto(f"{self.daemon.admin()}/" + (f"#token={fragment}" if fragment else ""))
        self.page.wait_for_selector("body[data-state=live]")

    def health(self) -> str:
        return str(self.page.inner_text(".health p"))

    def tab(self, name: str) -> None:
        self.page.click(f"#tab-{name}")
        self.page.wait_for_selector(f"#panel-{name}:visible")

    def status(self) -> dict[str, Any]:
        code, body = self.daemon.control("GET", "/status")
        assert code == 200
        found: dict[str, Any] = json.loads(body)
        return found

    def rows(self, table: str) -> list[dict[str, str]]:
        """The rows of the body of a table by the heads of its columns."""
        heads, body = self.page.evaluate(
            """selector => {
                const table = document.querySelector(selector);
                const texts = (row) => [...row.children].map((cell) => cell.textContent.trim());
                return [texts(table.tHead.rows[0]), [...table.tBodies[0].rows].map(texts)];
            }""",
            table,
        )
        return [dict(zip(heads, row, strict=True)) for row in body]


def whole(text: str) -> int:
    """The number in a cell of a table; an empty cell is 0."""
    return int(text.replace(",", "") or "0")


def fed(daemon: Daemon) -> None:
    """Traffic of every fate: stored, filtered, unmatched, rejected as text, as JSON and by its range."""
    lines = [json.dumps({"sensor": f"s-{n % 7}", "value": n / 10}) for n in range(500)]
    lines += ['{"sensor":"quiet","value":1}'] * 40
    daemon.tcp("\n".join(lines).encode() + b"\n")
    datagrams = [b'{"sensor":"u-1","value":3.5}'] * 60 + [b'{"sensor":"u-2","value":900}'] * 5
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for payload in [*datagrams, HOSTILE, b"<b>no json</b>"]:
            sock.sendto(payload, daemon.address("lab"))
    daemon.tcp(HOSTILE + b"\n")
    until(lambda: daemon.query("SELECT count(*) FROM readings") == [(500 + 60 + 1,)], "the rows")
    until(lambda: len(daemon.dead_letters("lab")) == 7, "the dead letters")
    until(lambda: settled(daemon), "the commits")


def settled(daemon: Daemon) -> bool:
    """Whether no number of the books will change any more."""
    document = json.loads(daemon.control("GET", "/status")[1])
    books = [delivery["records"] for sink in document["sinks"] for delivery in sink["deliveries"]]
    return all(book["pending"] == 0 for book in books)


@pytest.fixture(scope="module")
def daemon(start_once: Callable[..., Daemon]) -> Daemon:
    found = start_once(CONFIG)
    fed(found)
    return found


@pytest.fixture
def shown(browser: Any, daemon: Daemon) -> Iterator[Shown]:
    """The page, opened with the token."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        context.set_default_timeout(TIMEOUT_MS)
        found = Shown(context.new_page(), daemon)
        found.open()
        yield found
