"""Messages for one actor, made as they are sent."""

import secrets
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from dramatiq.actor import Actor
from dramatiq.message import Message

#: Of an id, twelve hexadecimal digits are counted. They begin at random, and low
#: enough never to overflow.
_NUMBERS = 1 << 47


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
        message: Message[Any] = Message.__new__(Message)
        # As unpickling does it. The constructor sets each attribute of the frozen
        # class by a call, which takes as long as all the rest here.
        vars(message).update(
            {
                "queue_name": queue,
                "actor_name": name,
                "args": args,
                "kwargs": {},
                "options": {},
                "message_id": f"{prefix}{number:012x}",
                "message_timestamp": time.time_ns() // 1_000_000,
            }
        )
        yield message
