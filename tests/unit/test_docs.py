"""What the documentation points to is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ARCHITECTURE = ROOT / "docs" / "architecture.md"

_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PATH = re.compile(r"[\w.-]+(/[\w.-]+)*(/|\.(py|lua|sql|cfg|toml))")


def prose_of(page: Path) -> str:
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Return the headings as GitHub writes them into links."""
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in _HEADING.findall(prose_of(page))
    }


def broken_links(page: Path) -> Iterator[str]:
    for link in _LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else page.parent / path
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page):
    """A link to a file, and to a heading in it, resolves."""
    assert list(broken_links(page)) == []


def test_every_path_in_the_architecture_exists():
    """A file or folder that the page names in code letters is in the repository."""
    named = [
        code for code in _CODE.findall(prose_of(ARCHITECTURE)) if _PATH.fullmatch(code)
    ]

    missing = [path for path in named if not (ROOT / path).exists()]

    assert len(named) > 20
    assert missing == []


def test_every_decision_is_listed_and_complete():
    """A decision has its three sections, and the architecture leads to it."""
    listed = ARCHITECTURE.read_text(encoding="utf-8")
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    sections = {page.name: _HEADING.findall(prose_of(page))[1:] for page in decisions}

    assert all(f"(decisions/{name})" in listed for name in sections)
    assert all(
        found == ["Context", "Decision", "Consequences"] for found in sections.values()
    )
