"""What the documentation points to is there, and what it says of the broker is so."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import brokers
from brokers import JetStreamBroker, Route

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ARCHITECTURE = ROOT / "docs" / "architecture.md"
BROKER = ROOT / "docs" / "broker.md"

_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
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


def table_under(page: Path, heading: str) -> dict[str, str]:
    """Return the first column of the table under a heading, with its second."""
    _, found, text = page.read_text(encoding="utf-8").partition(f"\n{heading}\n")
    assert found, f"There is no {heading}."
    table = re.split(r"^#", text, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*) \|", table, re.MULTILINE)
    return {name: default.strip("`") for name, default in rows}


def told_default(default: object) -> object:
    """Return a default as the tables write one."""
    return "required" if default is inspect.Parameter.empty else default


def test_each_option_of_the_broker_is_in_its_table():
    """No option is missing, none is made up, and the defaults are the real ones."""
    parameters = inspect.signature(JetStreamBroker).parameters
    real = {name: told_default(one.default) for name, one in parameters.items()}

    told = table_under(BROKER, "### Options of JetStreamBroker")

    assert {name: ast.literal_eval(text) for name, text in told.items()} == real


def test_each_field_of_a_route_is_in_its_table():
    """As for the broker's options."""
    real = {
        field.name: "required"
        if field.default is dataclasses.MISSING
        else repr(field.default).replace("'", '"')
        for field in dataclasses.fields(Route)
    }

    assert table_under(BROKER, "### Fields of Route") == real


def test_each_option_of_a_message_is_in_its_table():
    """Those that the broker itself knows, and no others."""
    real = JetStreamBroker(middleware=[]).actor_options

    assert table_under(BROKER, "### Options of actors and messages").keys() == real


def test_each_public_name_is_told_with_its_module():
    """The table of modules leads to modules, and names all that the package shows."""
    modules = table_under(BROKER, "## What you need")

    missing = [
        f"{module}.{name}"
        for module, text in modules.items()
        for name in re.findall(r"`(\w+)`", f"`{text}`")
        if not hasattr(importlib.import_module(module), name)
        and name not in {"Results", "GroupCallbacks"}
    ]

    assert missing == []
    assert set(brokers.__all__) <= set(re.findall(r"\w+", modules["brokers"]))


@pytest.mark.parametrize(
    "block", _PYTHON.findall(BROKER.read_text(encoding="utf-8")), ids=itertools.count()
)
def test_python_on_the_page_runs(block, monkeypatch):
    """A block runs from its first line to its last; none of them connects."""
    monkeypatch.setattr("dramatiq.broker.global_broker", None)

    exec(compile(block, BROKER.name, "exec"), {})  # noqa: S102 - the page's own code
