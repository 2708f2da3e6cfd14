"""Calling only the hooks that have something to do.

Dramatiq calls every hook of every middleware for every message. Most of them are empty,
and most of its default middleware's look for an option that neither the message nor its
actor has. The order, and what happens when a hook fails, are Dramatiq's.
"""

from collections.abc import Callable
from typing import Any

from dramatiq.actor import Actor
from dramatiq.broker import Broker
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    Middleware,
    MiddlewareError,
    Pipelines,
    Retries,
    ShutdownNotifications,
)

Hook = Callable[..., None]
Table = list[tuple[Middleware, Hook]]

FAILED = "Unexpected failure in %s of %r."
#: Dramatiq's middleware whose hooks do nothing for a message that succeeds, when no
#: option of theirs is set: the option, or options, and the attribute with its default.
_IDLE: dict[type[Middleware], tuple[frozenset[str], str]] = {
    AgeLimit: (frozenset({"max_age"}), "max_age"),
    Callbacks: (frozenset({"on_success"}), ""),
    Pipelines: (frozenset({"pipe_target"}), ""),
    Retries: (frozenset(), ""),
    ShutdownNotifications: (frozenset({"notify_shutdown"}), "notify_shutdown"),
}
_OPTIONS = frozenset().union(*(options for options, _ in _IDLE.values()))


class HookedBroker(Broker):
    """A broker that knows its middleware's hooks by signal."""

    def __init__(self, middleware: list[Middleware]) -> None:
        self._tables: dict[tuple[str, str], Table] = {}
        self._known: list[Middleware] = []
        super().__init__(middleware)

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the hooks in order; a `MiddlewareError` goes up, others are logged."""
        for middleware, hook in self._hooks("before_", signal, args, kwargs):
            try:
                hook(self, *args, **kwargs)
            except MiddlewareError:
                raise
            # As Dramatiq does it: a hook of the user's may raise anything.
            except Exception:
                self.logger.critical(FAILED, signal, middleware, exc_info=True)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the hooks in reverse order; what they raise is logged."""
        for middleware, hook in self._hooks("after_", signal, args, kwargs):
            try:
                hook(self, *args, **kwargs)
            # As above.
            except Exception:
                self.logger.critical(FAILED, signal, middleware, exc_info=True)

    def hears(self, signal: str) -> bool:
        """Tell whether any hook is called before or after it."""
        return bool(
            self._hooks("before_", signal, (), {})
            or self._hooks("after_", signal, (), {})
        )

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        """Note an actor, whose options may need hooks."""
        super().declare_actor(actor)
        self._tables.clear()

    def _hooks(
        self, when: str, signal: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Table:
        actor_name = ""
        if signal == "process_message" and "exception" not in kwargs:
            message = args[0]
            if _OPTIONS.isdisjoint(message.options):
                actor_name = message.actor_name
        if self._known != self.middleware:
            self._known, self._tables = list(self.middleware), {}
        table = self._tables.get((when + signal, actor_name))
        if table is None:
            table = self._table(when + signal, actor_name)
            if when == "after_":
                table.reverse()
            self._tables[when + signal, actor_name] = table
        return table

    def _table(self, name: str, actor_name: str) -> Table:
        """Return the hooks of that name; with an actor, those for plain messages."""
        empty = getattr(Middleware, name, None)
        hooks = [(one, getattr(one, name)) for one in self.middleware]
        return [
            (one, hook)
            for one, hook in hooks
            if getattr(hook, "__func__", hook) is not empty
            and not (actor_name and self._is_idle(one, actor_name))
        ]

    def _is_idle(self, middleware: Middleware, actor_name: str) -> bool:
        """Tell whether its hooks do nothing for the actor's plain messages."""
        actor = self.actors.get(actor_name)
        options, default = _IDLE.get(type(middleware), (None, ""))
        if actor is None or options is None:
            return False
        is_on = bool(default and getattr(middleware, default))
        return not is_on and options.isdisjoint(actor.options)
