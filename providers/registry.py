"""The providers by name: the only place where a name becomes a provider."""

from collections.abc import Mapping
from typing import Any, Protocol

from models.errors import InvalidInputError
from providers import custom, lime, resend, ses, telnyx
from providers.guard import Guard
from providers.provider import Provider


class _Build(Protocol):
    def __call__(
        self,
        settings: Mapping[str, Any],
        credentials: Mapping[str, str],
        *,
        guard: Guard,
    ) -> Provider: ...


_BUILD: Mapping[str, _Build] = {
    "custom": custom.CustomWebhook.of,
    "resend": resend.Resend.of,
    "ses": ses.Ses.of,
    "telnyx": telnyx.Telnyx.of,
    "lime": lime.Lime.of,
}


def build(
    name: str,
    settings: Mapping[str, Any],
    credentials: Mapping[str, str],
    *,
    guard: Guard,
) -> Provider:
    """Return a provider; it connects at its first call, where `guard` lets it.

    Raises:
        InvalidInputError: There is no such provider, or it cannot take a setting or
            a credential; the field is named.
    """
    if name not in _BUILD:
        raise InvalidInputError(
            f"There is no provider “{name}”; there is {', '.join(_BUILD)}.",
            field="provider",
        )
    return _BUILD[name](settings, credentials, guard=guard)
