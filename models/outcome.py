"""A provider's answer to one call, and what a group of calls came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing more may be sent until a person has acted, or a time has come.

    Attributes:
        scope: `config` stops all that the config sends; `sender` stops what is sent
            under the sender's name of this batch.
        reason: A sentence that tells the tenant what to do.
        ends_after_s: When a config's hold ends by itself, in seconds, because what
            was used up comes back; none: a person must act.
    """

    scope: Literal["config", "sender"]
    reason: str
    ends_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class ReportedRate:
    """What a provider says of its own limit, in what its headers count.

    Attributes:
        limit: So many in a window.
        remaining: So many are left in this one.
        reset_s: Seconds until the next window.
    """

    limit: float
    remaining: float
    reset_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said to one call, by member of the call (index from 0).

    Accepted beats refused beats none (design, rule 5). A member that is neither
    accepted, nor failed, nor unanswered was refused *for now*: the provider proved
    that it was not taken, and it may be tried again.

    Attributes:
        accepted: The members taken, as a set (see `models.bits`).
        failed: Members refused for good, with the reason a tenant may read.
        unanswered: Members for whom a call was made and nobody can tell.
        undecidable: Members of whom no repetition can tell more, not even under the
            same key: they are *unknown* at once.
        provider_ids: The provider's message ids by member, or empty where it
            gives none.
        retry_after_s: How long the provider asked us to wait, in seconds.
        reason: Why members were refused for now or stayed unanswered.
        taken_up: The provider dealt with this very call and these are its results,
            member by member. False when the call as a whole was turned away (too
            many requests, in progress, no connection): under a key that proves
            nothing about an earlier attempt of the same call.
        suppress: Members, all of them failed, whose addresses must not be sent to
            again, with the reason.
        hold: Why nothing more may be sent, if so.
        rate: What the provider says of its limit, if it does.
        is_fault: The provider failed by itself, did not answer, or could not be
            reached; it has refused nothing. What the circuit breaker counts.
        is_called: The call began. False where we held it back ourselves.
    """

    accepted: int = 0
    failed: Mapping[int, str] = field(default_factory=dict)
    unanswered: int = 0
    undecidable: int = 0
    provider_ids: Sequence[str | None] = ()
    retry_after_s: float | None = None
    reason: str = ""
    taken_up: bool = True
    suppress: Mapping[int, str] = field(default_factory=dict)
    hold: Hold | None = None
    rate: ReportedRate | None = None
    is_fault: bool = False
    is_called: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some recipients of a chunk, by position in the chunk.

    Attributes:
        sent: Positions a provider took (a set, see `models.bits`).
        failed: Positions for whom no call can have succeeded and none will.
        unknown: Positions called without an answer that will not be called again.
        suppressed: Positions left out because they are on a suppression list.
        provider_ids: The provider's message id by position.
        errors: The reason a tenant may read, by position.
    """

    sent: int = 0
    failed: int = 0
    unknown: int = 0
    suppressed: int = 0
    provider_ids: Mapping[int, str] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """Return the positions that a provider has decided."""
        return self.sent | self.failed
