"""Messages as JSON, written and read by orjson.

Stock Dramatiq reads what this writes. A value may be an `orjson.Fragment`, that is,
JSON that some other part (a database, say) has already written.
"""

from typing import Any

import orjson
from dramatiq.encoder import Encoder
from dramatiq.errors import DecodeError


class OrjsonEncoder(Encoder):
    """Encodes messages with orjson; dictionaries need text keys.

    Dates, times and UUIDs become text, and are text when they are read back.
    """

    def encode(self, data: dict[str, Any]) -> bytes:
        """Return the message as JSON.

        Raises:
            TypeError: Some value has no form in JSON; the text names the actor.
        """
        try:
            return orjson.dumps(data)
        except TypeError as error:
            name = data.get("actor_name")
            raise TypeError(f"A message for {name} is not JSON: {error}") from error

    def decode(self, data: bytes) -> Any:
        """Return the message's fields, or a result of any kind.

        Raises:
            DecodeError: The bytes are not JSON.
        """
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise DecodeError("The bytes are not JSON.", data, error) from error


#: For `dramatiq.set_encoder`; every process of an application needs the same one.
ENCODER = OrjsonEncoder()
