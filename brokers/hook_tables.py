"""Calling only the hooks that some middleware really has.

Dramatiq calls every hook of every middleware for every message, most of them empty.
The order, and what happens when a hook fails, are Dramatiq's.
"""

from collections.abc import Callable
from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware, MiddlewareError

Hook = Callable[..., None]

FAILED = "Unexpected failure in %s of %r."


class HookedBroker(Broker):
    """A broker that knows its middleware's hooks by signal."""

    def __init__(self, middleware: list[Middleware]) -> None:
        self._tables: dict[str, list[tuple[Middleware, Hook]]] = {}
        self._known: list[Middleware] = []
        super().__init__(middleware)

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the hooks in order; a `MiddlewareError` goes up, others are logged."""
        for middleware, hook in self._hooks("before_" + signal):
            try:
                hook(self, *args, **kwargs)
            except MiddlewareError:
                raise
            # As Dramatiq does it: a hook of the user's may raise anything.
            except Exception:
                self.logger.critical(FAILED, signal, middleware, exc_info=True)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the hooks in reverse order; what they raise is logged."""
        for middleware, hook in reversed(self._hooks("after_" + signal)):
            try:
                hook(self, *args, **kwargs)
            # As above.
            except Exception:
                self.logger.critical(FAILED, signal, middleware, exc_info=True)

    def _hooks(self, name: str) -> list[tuple[Middleware, Hook]]:
        if self._known != self.middleware:
            self._known, self._tables = list(self.middleware), {}
        table = self._tables.get(name)
        if table is None:
            empty = getattr(Middleware, name, None)
            hooks = [(one, getattr(one, name)) for one in self.middleware]
            table = [
                (one, hook)
                for one, hook in hooks
                if getattr(hook, "__func__", hook) is not empty
            ]
            self._tables[name] = table
        return table
