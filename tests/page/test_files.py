import hashlib
import re
from pathlib import Path

import pytest

import streamd

PAGE = Path(streamd.__file__).parent / "page"
OWN = sorted(path for path in PAGE.iterdir() if path.is_file())
MODULES = [path for path in OWN if path.suffix == ".js"]
INDEX = (PAGE / "index.html").read_text()
UPLOT_1_6_32 = {
    "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
MARKUP_FROM_TEXT = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\("
    r"|new Function"
)


def imported(path: Path) -> set[str]:
    return set(re.findall(r'from "\./([a-z_]+\.js)"', path.read_text()))


def test_uplot_is_unchanged_and_has_its_licence() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (PAGE / "vendor").iterdir()}
    assert found == UPLOT_1_6_32


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_makes_no_markup_from_text(path: Path) -> None:
    assert not MARKUP_FROM_TEXT.findall(path.read_text())


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_loads_from_another_host(path: Path) -> None:
    addresses = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"']*", path.read_text()))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of a language, which nobody loads


def test_the_document_has_neither_scripts_nor_styles_of_its_own() -> None:
    assert not re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", INDEX)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", INDEX) == ["", ""]


def test_the_document_loads_every_file_and_no_other() -> None:
    loaded = re.findall(r'(?:href|src)="/page/([^"]+)"', INDEX)
    assert len(loaded) == len(set(loaded))
    vendored = {f"vendor/{name}" for name in UPLOT_1_6_32 if "LICENSE" not in name}
    assert set(loaded) == {path.name for path in OWN if path.name != "index.html"} | vendored


def test_every_module_is_imported_by_another_one() -> None:
    everything = set().union(*map(imported, MODULES))
    assert everything == {path.name for path in MODULES} - {"main.js"}


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_a_file_says_what_it_shows_and_stays_small(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) < 260
    if path.suffix in (".js", ".css"):
        assert lines[0].startswith(("// ", "/* "))
