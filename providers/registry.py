"""The providers by name: the only place where a name becomes a provider."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from models.errors import InvalidInputError
from providers import custom
from providers.provider import Provider

_BUILD: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, str]], Provider]] = {
    "custom": custom.CustomWebhook.of,
}
_VALIDATE: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "custom": custom.Settings.of,
}


def build(
    name: str, settings: Mapping[str, Any], credentials: Mapping[str, str]
) -> Provider:
    """Return a provider; it connects at its first call.

    Raises:
        InvalidInputError: There is no such provider, or it cannot take a setting or
            a credential; the field is named.
    """
    return _known(_BUILD, name)(settings, credentials)


def validate(name: str, settings: Mapping[str, Any]) -> None:
    """Check the settings of a send config, connecting to nothing.

    Raises:
        InvalidInputError: As `build`.
    """
    _known(_VALIDATE, name)(settings)


_T = TypeVar("_T")


def _known(by_name: Mapping[str, _T], name: str) -> _T:
    if name not in by_name:
        raise InvalidInputError(
            f"There is no provider “{name}”; there is {', '.join(by_name)}.",
            field="provider",
        )
    return by_name[name]
