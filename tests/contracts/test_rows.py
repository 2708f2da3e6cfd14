"""Every row is shown by some test."""

import re
from pathlib import Path

from tests.contracts.rows import ELSEWHERE, ROWS

_NAMED = re.compile(r"\(((?:[A-Z]\d(?:, )?)+)\)[.:]")


def test_every_row_is_shown():
    texts = [path.read_text() for path in Path(__file__).parent.glob("*.py")]
    named = {
        row
        for text in texts
        for some in _NAMED.findall(text)
        for row in some.split(", ")
    }

    assert named | ELSEWHERE == set(ROWS)
