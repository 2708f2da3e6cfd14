"""Statements that each connection plans once instead of each time.

Planning was half of what a claim cost. It needs connections that keep their session:
behind a transaction pooler `DATABASE_PREPARE=false` sends the same statements as they
are.
"""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, CursorResult, text

_PARAMETER = re.compile(r"(?<!:):(\w+)")


class Prepared:
    """A statement with `:parameters`, prepared by a connection when it first runs it.

    Args:
        name: Its name in a session of Postgres; no other statement has it.
        sql: Its text; a parameter whose type its place does not tell is cast there.
    """

    def __init__(self, name: str, sql: str) -> None:
        self._name = name
        self._text = text(sql)
        self._parameters = list(dict.fromkeys(_PARAMETER.findall(sql)))
        numbers = {known: n for n, known in enumerate(self._parameters, start=1)}
        numbered = _PARAMETER.sub(lambda found: f"${numbers[found[1]]}", sql)
        self._prepare = f"prepare {name} as {numbered}"
        places = ", ".join(["%s"] * len(self._parameters))
        self._execute = f"execute {name} ({places})"

    @property
    def text(self) -> str:
        """Return the statement as it was written."""
        return str(self._text)

    def run(
        self, connection: Connection, values: Mapping[str, Any]
    ) -> CursorResult[Any]:
        """Execute it; where sessions are not ours, unprepared."""
        if not connection.get_execution_options().get("prepares"):
            return connection.execute(self._text, values)
        known = connection.info.setdefault("prepared", set())
        if self._name not in known:
            connection.exec_driver_sql(self._prepare)
            known.add(self._name)
        given = tuple(values[name] for name in self._parameters)
        return connection.exec_driver_sql(self._execute, given)
