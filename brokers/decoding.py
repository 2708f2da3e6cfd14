"""A message's bytes as its fields, whatever they turn out to be."""

import dataclasses
from typing import Any

from dramatiq.errors import DecodeError
from dramatiq.message import Message, get_encoder

_FIELDS = {field.name for field in dataclasses.fields(Message)}


def fields_of(body: bytes, queue: str) -> dict[str, Any]:
    """Return the message's fields; its queue's name is the one that it came from.

    Raises:
        DecodeError: It is no message.
    """
    try:
        fields = get_encoder().decode(body)
        fields["queue_name"] = queue
        if fields.keys() != _FIELDS:
            fields = vars(Message(**fields))
        tuple(fields["args"])
    except DecodeError:
        raise
    # An encoder of the user's may raise anything at all on bytes not its own.
    except Exception as error:
        raise DecodeError("It is no message.", body, error) from error
    right = isinstance(fields["options"], dict) and isinstance(fields["kwargs"], dict)
    # A worker looks for the actor on the thread that serves the whole queue.
    if not (right and isinstance(fields["actor_name"], str)):
        raise DecodeError("It is no message.", body, None)
    return fields
