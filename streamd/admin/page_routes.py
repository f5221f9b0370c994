"""The routes of the page: the files of the folder `streamd/page`."""

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamd.admin.parameters import known
from streamd.admin.stack import WrongRequest

FOLDER = Path(__file__).parent.parent / "page"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
    ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
"""The kinds of files that are served. Other files of the folder are not."""


class PageRoutes:
    """`/` is the page, and `/page/NAME` is a file that it loads.

    The files are read at the first request for one. A name is looked up among them, so that no name leads to
    a file outside of the folder.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._files: dict[str, tuple[bytes, str]] | None = None

    def routes(self) -> list[Route]:
        """The routes. None of them shows anything of the daemon."""
        return [Route("/", self._index), Route("/page/{name:path}", self._file)]

    async def _index(self, request: Request) -> Response:
        known(request)
        return await self._answer(INDEX)

    async def _file(self, request: Request) -> Response:
        known(request)
        return await self._answer(request.path_params["name"])

    async def _answer(self, name: str) -> Response:
        if self._files is None:
            self._files = await asyncio.to_thread(_read, self._folder)
        found = self._files.get(name)
        if found is None:
            raise WrongRequest(404, f"the page has no file {name}")
        return Response(found[0], headers={"Content-Type": found[1]})


def _read(folder: Path) -> dict[str, tuple[bytes, str]]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), TYPES[path.suffix])
        for path in sorted(folder.rglob("*"))
        if path.suffix in TYPES and path.is_file()
    }
