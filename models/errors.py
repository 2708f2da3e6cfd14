"""Errors of the project, one class for each thing a caller does differently."""


class BatchSenderError(Exception):
    """Any failure that the project itself explains.

    Its text is one sentence that says what to do. It holds no secret and no address.
    """


class InvalidInputError(BatchSenderError):
    """The user sent something that cannot be taken; nothing was changed.

    Attributes:
        field: The name of the offending field, or `""` where there is none.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotFoundError(BatchSenderError):
    """The tenant has no such thing."""


class ConflictError(BatchSenderError):
    """The thing is in a state that forbids what was asked."""


class NeighbourUnavailableError(BatchSenderError):
    """A server we need does not answer; the same call may work later."""
