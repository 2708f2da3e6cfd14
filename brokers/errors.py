"""What can go wrong at the broker, one class for each thing a caller does differently.

Whatever a later attempt may heal derives from Dramatiq's `BrokerConnectionError`,
because its workers and its command line already treat that one as "try again".
"""

from dramatiq.errors import BrokerConnectionError, BrokerError


class NotStoredError(BrokerConnectionError):
    """The server confirmed no storage in time; the message may yet be stored.

    Trying again is safe where the caller gave a `dedup_id`, else it may double.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)


class UnavailableError(BrokerConnectionError):
    """No server answered in time; nothing is known about what was asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class RefusedError(BrokerError):
    """The server understood and refused; the same request will be refused again.

    Attributes:
        err_code: JetStream's own number for why; 0 where it gave none.
    """

    def __init__(self, message: str, err_code: int = 0) -> None:
        super().__init__(message)
        self.err_code = err_code


class ApiError(BrokerError):
    """JetStream answered a request with an error.

    Attributes:
        code: The class of error, as in HTTP.
        err_code: JetStream's own number, such as 10059 for *stream not found*.
    """

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"JetStream answered {err_code}: {description}")
        self.code = code
        self.err_code = err_code


class MessageTooLarge(ValueError):  # noqa: N818 - read as a fact, beside QueueNotFound
    """The message exceeds what the server takes; nothing was sent."""


class LetterNotFound(LookupError):  # noqa: N818 - read as a fact, as above
    """There is no such dead letter: dropped, replayed, expired, or never there."""
