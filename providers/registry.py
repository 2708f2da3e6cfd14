"""The providers by name: the only place where a name becomes a provider."""

from collections.abc import Callable, Mapping
from typing import Any

from models.errors import InvalidInputError
from providers import custom
from providers.provider import Provider

_BUILD: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, str]], Provider]] = {
    "custom": custom.CustomWebhook.of,
}


def build(
    name: str, settings: Mapping[str, Any], credentials: Mapping[str, str]
) -> Provider:
    """Return a provider; it connects at its first call.

    Raises:
        InvalidInputError: There is no such provider, or it cannot take a setting or
            a credential; the field is named.
    """
    if name not in _BUILD:
        raise InvalidInputError(
            f"There is no provider “{name}”; there is {', '.join(_BUILD)}.",
            field="provider",
        )
    return _BUILD[name](settings, credentials)
