"""A stack of a test's own, which it may break."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.stack import Stack


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack beside the session's; nothing runs in it yet."""
    stack = Stack(tmp_path / "data")
    yield stack
    stack.stop()
