"""What each provider can do and which settings its configs take, as data.

The web app checks and seals by it, so that it needs no provider's code; the provider
itself states nothing twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.custom_settings import CustomSettings
from models.errors import InvalidInputError
from models.provider_settings import (
    LimeSettings,
    ResendSettings,
    SesSettings,
    TelnyxSettings,
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do under one config's settings.

    Attributes:
        max_batch: Recipients in one call; 1 means one call each.
        keeps_idempotency_keys: A repeated call with the same key is not a second
            sending.
        reports_events: It tells us later what became of a message.
        counts: What its rate limit counts.
        rate_headers: Its answers tell its own limit (`Answer.rate`).
        tells_account: It can be asked for its limits (`Provider.account`).
        requests_per_s: How many calls it takes in a second, whatever is in them,
            until its headers say more; none where only recipients are counted.
        carries: Which of the payload's optional fields it can carry; `inlineImages`
            are attachments that the HTML text shows.
    """

    max_batch: int
    keeps_idempotency_keys: bool
    reports_events: bool
    counts: Literal["requests", "recipients"] = "recipients"
    rate_headers: bool = False
    tells_account: bool = False
    requests_per_s: float | None = None
    carries: frozenset[str] = frozenset()


#: All that a mail may have beside its texts and headers.
_ALL_OF_A_MAIL = frozenset(
    {"cc", "bcc", "tags", "attachments", "inlineImages", "listUnsubscribe"}
)

#: The card's rates, in messages a second, for configs that state none.
DEFAULT_RATES_PER_S: Mapping[str, float] = {
    "custom": 50.0,
    "resend": 100.0,
    "ses": 14.0,
    "telnyx": 50.0,
    "lime": 50.0,
}

#: What each provider can deliver.
CHANNELS: Mapping[str, frozenset[str]] = {
    "custom": frozenset({"email", "sms", "webhook"}),
    "resend": frozenset({"email"}),
    "ses": frozenset({"email"}),
    "telnyx": frozenset({"sms"}),
    "lime": frozenset({"sms"}),
}

#: The names of each provider's credentials; all are needed, but for `custom`.
CREDENTIALS: Mapping[str, frozenset[str]] = {
    "custom": frozenset({"secret"}),
    "resend": frozenset({"apiKey"}),
    "ses": frozenset({"accessKeyId", "secretAccessKey"}),
    "telnyx": frozenset({"apiKey"}),
    "lime": frozenset({"user", "apiId"}),
}

#: The documented default of Resend, for a whole team; its answers tell the real one.
_RESEND_REQUESTS_PER_S = 2.0


def capabilities(provider: str, settings: Mapping[str, Any]) -> Capabilities:
    """Return what `provider` can do under a config's settings.

    Raises:
        InvalidInputError: There is no such provider, or a setting is wrong; the
            field is named.
    """
    if provider not in _OF:
        known = ", ".join(_OF)
        raise InvalidInputError(
            f"There is no provider “{provider}”; choose one of {known}.",
            field="provider",
        )
    return _OF[provider](settings)


def checked_settings(provider: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a new config's settings; raises as `capabilities`."""
    capabilities(provider, settings)
    return dict(settings)


def of_custom(custom: CustomSettings) -> Capabilities:
    """Return what a tenant's own endpoint can do."""
    return Capabilities(
        max_batch=custom.max_batch,
        keeps_idempotency_keys=custom.idempotency_keys,
        reports_events=False,
        counts=custom.limit_unit,
        carries=_ALL_OF_A_MAIL,
    )


def _of_resend(settings: Mapping[str, Any]) -> Capabilities:
    return Capabilities(
        max_batch=ResendSettings.of(settings).max_batch,
        keeps_idempotency_keys=True,
        reports_events=True,
        rate_headers=True,
        requests_per_s=_RESEND_REQUESTS_PER_S,
        carries=_ALL_OF_A_MAIL,
    )


def _of_ses(settings: Mapping[str, Any]) -> Capabilities:
    ses = SesSettings.of(settings)
    return Capabilities(
        max_batch=ses.max_batch,
        keeps_idempotency_keys=False,
        reports_events=ses.configuration_set is not None,
        tells_account=True,
        carries=_ALL_OF_A_MAIL,
    )


def _of_telnyx(settings: Mapping[str, Any]) -> Capabilities:
    return Capabilities(
        max_batch=1,
        keeps_idempotency_keys=False,
        reports_events=TelnyxSettings.of(settings).webhook_url is not None,
        rate_headers=True,
    )


def _of_lime(settings: Mapping[str, Any]) -> Capabilities:
    LimeSettings.of(settings)
    return Capabilities(max_batch=1, keeps_idempotency_keys=False, reports_events=False)


_OF: Mapping[str, Callable[[Mapping[str, Any]], Capabilities]] = {
    "custom": lambda settings: of_custom(CustomSettings.of(settings)),
    "resend": _of_resend,
    "ses": _of_ses,
    "telnyx": _of_telnyx,
    "lime": _of_lime,
}
