"""What an error of a provider decides, and the answer that comes of it.

Each provider has a table of its errors: what is done about each, and what it proves.
Keys of a table, the first that fits counting:

| key | fits |
| --- | --- |
| `429 rate_limit_exceeded` | this status with this name |
| `rate_limit_exceeded` | this name under any status |
| `429` | this status |
| `4xx` | any status from 400 to 499 |

What fits nothing proves nothing. A row says *refused* only where the provider
documents that it took nothing (design, section 5 rule 5); all else is *none*, and a
call without a key is then unknown.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from models import bits
from models.outcome import Answer, Hold, ReportedRate
from providers.http import HttpAnswer, NoAnswer, NotSent
from providers.rate_headers import retry_after_s

log = logging.getLogger("batchsender.providers")

#: Most that a provider's own words may take in our records.
MAX_WORDS = 300
#: How long *retry later* waits, in seconds.
LATER_S = 300.0
#: When a quota that comes back by itself is tried again, in seconds: one that counts
#: the last 24 hours gives some of itself back at any time.
DAILY_QUOTA_S = 3600.0
MONTHLY_QUOTA_S = 24 * 3600.0

_SHORTEST_SECRET = 6


class Then(StrEnum):
    """What is done about an error."""

    #: Again soon, after the back-off or what the provider asked for.
    RETRY = "retry"
    #: Again after minutes.
    RETRY_LATER = "retry later"
    #: Hold the config until a person has acted.
    PAUSE = "pause the config"
    #: Hold what is sent under this sender's name.
    STOP_SENDER = "stop the sender"
    #: The recipient has failed for good.
    FAIL = "fail the recipient"
    #: The recipient has failed, and its address is not sent to again.
    SUPPRESS = "suppress the address"
    #: Nobody can tell, and a repetition would tell no more.
    UNKNOWN = "unknown"


#: What an error proves about the message.
Proof = Literal["accepted", "refused", "none"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of a table.

    Attributes:
        then: What is done.
        proof: *accepted*, *refused*, or *none*: nothing is proven.
        says: A sentence that a tenant may read; it says what to do, if anything.
        quotes: The provider's own words may follow the sentence.
        hold_ends_after_s: When the hold ends by itself, in seconds, because what was
            used up comes back; none: a person must act.
        wait_s: How long the provider asked us to wait, in seconds; in no table.
        is_fault: The provider failed by itself or could not be reached; in no table.
    """

    then: Then
    proof: Proof
    says: str
    quotes: bool = False
    hold_ends_after_s: float | None = None
    wait_s: float | None = None
    is_fault: bool = False

    def quoting(self, words: str, secrets: Collection[str] = ()) -> "Verdict":
        """Return the row with the provider's words behind it, if it may have them.

        No secret is quoted, not even where the provider repeats it.
        """
        if not self.quotes or not words:
            return self
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                words = words.replace(secret, "…")
        return replace(self, says=f"{self.says} It said: {words[:MAX_WORDS]}")


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that the provider took.

    Attributes:
        provider_id: Its id there, where it has one.
    """

    provider_id: str | None = None


#: A provider's errors by key, as the module tells.
ErrorTable = Mapping[str, Verdict]

NOT_READABLE = Verdict(
    Then.RETRY,
    "none",
    "The provider's answer is not what it documents.",
    is_fault=True,
)


def verdict_on(table: ErrorTable, status: int, names: Sequence[str] = ()) -> Verdict:
    """Return the row for an error of these names, the most telling first.

    A server's own failure (5xx) proves nothing, whatever names it gives.
    """
    names = names if status < 500 else ()
    keys = [key for name in names for key in (f"{status} {name}", name)]
    keys += [str(status), f"{status // 100}xx"]
    found = next((table[key] for key in keys if key in table), None)
    if found is None:
        log.warning("No row for an answer %s %r.", status, [n[:60] for n in names])
        return NOT_READABLE
    return found


def without_answer(found: NotSent | NoAnswer) -> Verdict:
    """Return what it means that no answer came: the first byte decides."""
    if isinstance(found, NoAnswer):
        return Verdict(Then.RETRY, "none", found.reason, is_fault=True)
    if found.is_forbidden:
        return Verdict(Then.PAUSE, "refused", found.reason)
    return Verdict(Then.RETRY, "refused", found.reason, is_fault=True)


def judged(
    found: HttpAnswer | NotSent | NoAnswer, table: ErrorTable, names: Sequence[str] = ()
) -> Verdict | None:
    """Return the row for what became of a call; none where its status is 2xx."""
    if not isinstance(found, HttpAnswer):
        return without_answer(found)
    if 200 <= found.status < 300:
        return None
    verdict = verdict_on(table, found.status, names)
    return replace(
        verdict,
        wait_s=retry_after_s(found.headers),
        is_fault=verdict.is_fault or found.status >= 500,
    )


def whole(verdict: Verdict, size: int, *, rate: ReportedRate | None = None) -> Answer:
    """Return the answer to a call of `size` messages that had one error for all.

    A call that was turned away as a whole was not dealt with: under a key that
    proves nothing about an earlier attempt.
    """
    answer = by_member([verdict] * size, rate=rate)
    is_decided = verdict.then in (Then.FAIL, Then.SUPPRESS, Then.UNKNOWN)
    return replace(answer, taken_up=is_decided or verdict.proof != "refused")


def by_member(
    results: Sequence[Taken | Verdict], *, rate: ReportedRate | None = None
) -> Answer:
    """Return the answer to a call whose members fared as `results` say.

    Who is neither taken, failed nor without an answer was refused for now.
    """
    errors = {i: one for i, one in enumerate(results) if isinstance(one, Verdict)}
    taken = [one if isinstance(one, Taken) else None for one in results]
    ids = [one.provider_id if one else None for one in taken]
    given_up = _which(errors, (Then.UNKNOWN,))
    suppress = _which(errors, (Then.SUPPRESS,))
    failed = {**_which(errors, (Then.FAIL,)), **suppress}
    none = {i: one for i, one in errors.items() if one.proof == "none"}
    accepted = [i for i in range(len(results)) if i not in errors]
    accepted += [i for i, one in errors.items() if one.proof == "accepted"]
    open_reasons = [one.says for i, one in errors.items() if i not in failed]
    return Answer(
        accepted=bits.of_positions(accepted),
        failed={i: one.says for i, one in failed.items()},
        unanswered=bits.of_positions(none.keys() - given_up.keys()),
        undecidable=bits.of_positions(given_up),
        provider_ids=ids if any(ids) else (),
        retry_after_s=max(_waits_s(errors), default=None),
        reason=next(iter(open_reasons), ""),
        suppress={i: one.says for i, one in suppress.items()},
        hold=_hold(errors),
        rate=rate,
        # Whoever deals with one member of a call is there.
        is_fault=len(errors) == len(results)
        and all(one.is_fault for one in errors.values()),
    )


def _waits_s(errors: Mapping[int, Verdict]) -> Iterator[float]:
    for one in errors.values():
        if one.wait_s is not None:
            yield one.wait_s
        elif one.then is Then.RETRY_LATER:
            yield LATER_S


def _which(errors: Mapping[int, Verdict], then: Sequence[Then]) -> dict[int, Verdict]:
    return {i: one for i, one in errors.items() if one.then in then}


def _hold(errors: Mapping[int, Verdict]) -> Hold | None:
    for one in errors.values():
        if one.then is Then.PAUSE:
            return Hold("config", one.says, one.hold_ends_after_s)
    for one in errors.values():
        if one.then is Then.STOP_SENDER:
            return Hold("sender", one.says)
    return None
