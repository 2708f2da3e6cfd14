"""The times that make a claim safe, and the inequalities between them."""

from dataclasses import dataclass

from models.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a call, a claim and a message may take (design, rule 12).

    Postgres' clock judges leases; a worker counts from before its claim. A wrong
    order of these times makes unknown outcomes, so it is refused.

    Attributes:
        call_deadline_s: A provider call ends by then, its socket closed.
        margin_s: Room for everything around a call: the default of 5 s.
        lease_s: How long a claim holds without an advance.
        ack_wait_s: When NATS delivers a message again that nobody settled.
    """

    call_deadline_s: float = 20.0
    margin_s: float = 5.0
    lease_s: float = 45.0
    ack_wait_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse times that do not fit into each other."""
        if self.lease_s < self.call_deadline_s + 3 * self.margin_s:
            raise InvalidInputError(
                "LEASE_S must be at least CALL_DEADLINE_S + 3 * CALL_MARGIN_S.",
                field="LEASE_S",
            )
        if self.ack_wait_s < self.lease_s + 2 * self.margin_s:
            raise InvalidInputError(
                "ACK_WAIT_S must be at least LEASE_S + 2 * CALL_MARGIN_S.",
                field="ACK_WAIT_S",
            )

    @property
    def start_within_s(self) -> float:
        """Return the age of a lease after which no call may begin."""
        return self.lease_s - self.call_deadline_s - self.margin_s

    @property
    def take_over_after_s(self) -> float:
        """Return how long after its end a lease may be taken over."""
        return self.margin_s
