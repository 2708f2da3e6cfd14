"""Messages for one actor, made as they are sent."""

import secrets
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from dramatiq.actor import Actor
from dramatiq.message import Message

#: Of an id, what a number fills: twelve hexadecimal digits.
_NUMBERS = 1 << 48


def calls(
    actor: Actor[Any, Any], arguments: Iterable[tuple[Any, ...]]
) -> Iterator[Message[Any]]:
    """Give one message for each tuple of positional arguments.

    They are as `actor.message` makes them, for a fraction of the time: an id of theirs
    is a random UUID for all of them, in which the last part is counted. Meant for
    `enqueue_many`, which sends the first while the last are not made yet.
    """
    prefix = str(uuid.uuid4())[:24]
    queue, name = actor.queue_name, actor.actor_name
    for number, args in enumerate(arguments, secrets.randbelow(_NUMBERS)):
        yield Message(
            queue,
            name,
            args,
            {},
            {},
            f"{prefix}{number % _NUMBERS:012x}",
            int(time.time() * 1000),
        )
