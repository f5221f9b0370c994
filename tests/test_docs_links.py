"""Links between the pages of the documentation, and the index that lists the pages."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
INDEX = DOCS / "index.md"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
KINDS = ("tutorial", "how-to", "reference", "explanation", "decisions")
LINK = re.compile(r"(?<!`)!?\[(?:[^\]`]|`[^`]*`)*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
TEXTS = sorted(
    path
    for place in ("streamd", "tests", "config", "systemd", "Makefile", "pyproject.toml", "bin")
    for path in ([ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*"))
    if path.suffix in {".py", ".toml", ".yml", ".json", ".service", ".socket", ".sh", ".md", ""}
    and path.is_file()
)


def links(page: Path) -> list[str]:
    """Targets of a page's links, without those in its code."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    return LINK.findall(prose)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them: `-1` is added to a second one."""
    found: Counter[str] = Counter()
    made = set()
    for heading in re.findall(r"^#+ +(.*)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        made.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return made


def broken(page: Path) -> list[str]:
    """Links of a page that lead nowhere: no such file, outside the repository, or no such heading."""
    wrong = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if (
            not target.exists()
            or not target.is_relative_to(ROOT)
            or (anchor and (target.suffix != ".md" or anchor not in anchors(target)))
        ):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken(page) == []


def test_broken_links_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# A `b` and c\n\n## Two\n\n## Two\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[ok](other.md#a-b-and-c) [ok](#here) [ok](other.md#two-1) [ok](https://example.org/x)\n"
        "[no file](gone.md) [no heading](other.md#three) [no heading](#there) [`q[0]`](gone-too.md)\n"
        "![no picture](gone.svg) [outside](../outside.md)\n\n    [code](gone.md)\n\n"
        "```\n[code](gone.md)\n```\n"
    )
    assert broken(page) == [
        "gone.md", "other.md#three", "#there", "gone-too.md", "gone.svg", "../outside.md",
    ]  # fmt: skip


def test_every_page_is_of_one_kind() -> None:
    assert [page for page in DOCS.rglob("*.md") if page != INDEX and page.parent.parent != DOCS] == []
    assert {page.parent.name for page in DOCS.rglob("*.md") if page != INDEX} == set(KINDS)


def test_the_index_has_every_page_once_under_its_kind() -> None:
    """Decisions are listed by their folder."""
    wanted = Counter(
        str(page.relative_to(DOCS)) for kind in KINDS[:-1] for page in (DOCS / kind).glob("*.md")
    ) + Counter(["decisions"])
    assert Counter(links(INDEX)) == wanted
    sections = re.split(r"^## ", INDEX.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for section in sections:
        kind = section.splitlines()[0].lower()
        found = set(LINK.findall(section)) - {"decisions"}
        assert {link.split("/")[0] for link in found} == {kind}


def test_every_page_that_code_and_examples_name_exists() -> None:
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in TEXTS
        for name in re.findall(
            r"\bdocs/[\w/-]+\.(?:md|svg)", path.read_text(encoding="utf-8", errors="replace")
        )
    }
    assert len({page for _, page in named}) > 5
    assert sorted((path, name) for path, name in named if not (ROOT / name).is_file()) == []
