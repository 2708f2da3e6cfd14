"""ClickHouse's statements, one file each."""

from functools import cache
from pathlib import Path


@cache
def statement(name: str) -> str:
    """Return the text of `<name>.sql` in this folder."""
    return (Path(__file__).parent / f"{name}.sql").read_text()
