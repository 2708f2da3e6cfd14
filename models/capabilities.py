"""What each provider can do and which settings its configs take, as data.

The web app checks and seals by it, so that it needs no provider's code; the provider
itself states nothing twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.custom_settings import CustomSettings
from models.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do under one config's settings.

    Attributes:
        max_batch: Recipients in one call; 1 means one call each.
        keeps_idempotency_keys: A repeated call with the same key is not a second
            sending.
        reports_events: It tells us later what became of a message.
        counts: What its rate limit counts.
    """

    max_batch: int
    keeps_idempotency_keys: bool
    reports_events: bool
    counts: Literal["requests", "recipients"] = "recipients"


#: The card's rates, in messages a second, for configs that state none.
DEFAULT_RATES_PER_S: Mapping[str, float] = {"custom": 50.0}


def capabilities(provider: str, settings: Mapping[str, Any]) -> Capabilities:
    """Return what `provider` can do under a config's settings.

    Raises:
        InvalidInputError: There is no such provider, or a setting is wrong; the
            field is named.
    """
    if provider not in DEFAULT_RATES_PER_S:
        known = ", ".join(DEFAULT_RATES_PER_S)
        raise InvalidInputError(
            f"There is no provider “{provider}”; choose one of {known}.",
            field="provider",
        )
    custom = CustomSettings.of(settings)
    return Capabilities(
        max_batch=custom.max_batch,
        keeps_idempotency_keys=custom.idempotency_keys,
        reports_events=False,
        counts=custom.limit_unit,
    )


def checked_settings(provider: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a new config's settings; raises as `capabilities`."""
    capabilities(provider, settings)
    return dict(settings)
