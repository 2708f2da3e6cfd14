"""The example in docs/add-a-provider.md passes the suite, as it stands there."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from models import capabilities
from providers import registry
from providers.verdicts import Then

PAGE = Path(__file__).parents[2] / "docs" / "add-a-provider.md"
TEXT = PAGE.read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = dict(_BLOCK.findall(TEXT))
#: What the page says to add, by the table's name.
LINES = {
    "DEFAULT_RATES_PER_S": 1.0,
    "CHANNELS": frozenset({"webhook"}),
    "CREDENTIALS": frozenset({"whistle"}),
}


def module_of(path: str) -> ModuleType:
    """Return a block of the page as the module that it would be."""
    made = ModuleType(path.removesuffix(".py").replace("/", "."))
    exec(compile(BLOCKS[path], str(PAGE), "exec"), made.__dict__)  # noqa: S102 - it is our own page
    return made


def example() -> dict[str, ModuleType]:
    """Return the example's modules, each importing those before it."""
    found = {}
    with pytest.MonkeyPatch.context() as patched:
        for path in (
            "providers/pigeon.py",
            "tests/fakes/pigeon.py",
            "tests/contracts/test_pigeon.py",
        ):
            found[path] = module_of(path)
            patched.setitem(sys.modules, found[path].__name__, found[path])
            package, _, name = found[path].__name__.rpartition(".")
            if package == "providers":
                patched.setattr(sys.modules[package], name, found[path], raising=False)
    return found


EXAMPLE = example()
TestPigeon = EXAMPLE["tests/contracts/test_pigeon.py"].TestPigeon


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    """Pigeon's lines in the five tables, for the time of a test."""
    there = dict(vars(capabilities))
    exec(compile(BLOCKS["models/capabilities.py"], str(PAGE), "exec"), there)  # noqa: S102 - as above
    build = EXAMPLE["providers/pigeon.py"].Pigeon.of
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(capabilities._OF, "pigeon", there["_of_pigeon"])
        patched.setitem(registry._BUILD, "pigeon", build)
        for name, line in LINES.items():
            patched.setitem(getattr(capabilities, name), "pigeon", line)
        yield


def test_the_page_names_every_table():
    """Those of the capabilities have the same providers, and so has the registry."""
    known = {name: set(getattr(capabilities, name)) for name in (*LINES, "_OF")}

    assert all(f"`{name}`" in TEXT for name in (*known, "_BUILD"))
    assert set(map(frozenset, known.values())) == {frozenset(registry._BUILD)}


def test_the_page_explains_everything_that_can_be_done():
    """Each kind of verdict has its line."""
    named = set(re.findall(r"^\| `([A-Z_]+)` \|", TEXT, re.MULTILINE))

    assert named == set(Then.__members__)


def test_every_provider_has_a_table_that_is_tried():
    """A file in tests/contracts is there for each."""
    missing = [
        name
        for name in registry._BUILD
        if name != "pigeon" and not (Path(__file__).parent / f"test_{name}.py").exists()
    ]

    assert missing == []
