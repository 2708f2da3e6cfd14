"""What each provider can do and which settings its configs take, as data.

The web app checks and seals by it, so that it needs no provider's code; the provider
itself states nothing twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from models.errors import InvalidInputError

#: Recipients in one call when a custom config names no number.
DEFAULT_MAX_BATCH = 500


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

_CUSTOM_SETTINGS: Mapping[str, type | tuple[type, ...]] = {
    "url": str,
    "maxBatch": int,
    "idempotencyKeys": bool,
    "headers": dict,
}


def capabilities(provider: str, settings: Mapping[str, Any]) -> Capabilities:
    """Return what `provider` can do under `settings`, which were checked before."""
    _known(provider)
    return Capabilities(
        max_batch=settings.get("maxBatch", DEFAULT_MAX_BATCH),
        keeps_idempotency_keys=settings.get("idempotencyKeys", False),
        reports_events=False,
    )


def checked_settings(provider: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a config; `InvalidInputError` names what is wrong."""
    _known(provider)
    for name, value in settings.items():
        wanted = _CUSTOM_SETTINGS.get(name)
        if wanted is None:
            known = ", ".join(_CUSTOM_SETTINGS)
            raise InvalidInputError(
                f"A custom config has no setting {name!r}; it takes {known}.",
                field=f"settings.{name}",
            )
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise InvalidInputError(
                f"The setting {name!r} has the wrong type.", field=f"settings.{name}"
            )
    _check_custom(settings)
    return dict(settings)


def _known(provider: str) -> None:
    if provider not in DEFAULT_RATES_PER_S:
        known = ", ".join(DEFAULT_RATES_PER_S)
        raise InvalidInputError(
            f"There is no provider {provider!r}; choose one of {known}.",
            field="provider",
        )


def _check_custom(settings: Mapping[str, Any]) -> None:
    url = urlsplit(settings.get("url", ""))
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise InvalidInputError(
            "A custom config needs the url it posts to, such as "
            "https://example.com/messages.",
            field="settings.url",
        )
    if not 1 <= settings.get("maxBatch", 1) <= 10_000:
        raise InvalidInputError(
            "maxBatch is between 1 and 10000 recipients.", field="settings.maxBatch"
        )
    headers = settings.get("headers", {})
    if not all(isinstance(value, str) for value in headers.values()):
        raise InvalidInputError(
            "Each header's value is a string.", field="settings.headers"
        )
