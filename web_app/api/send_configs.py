"""Send configs: how a tenant's batches are sent."""

from collections.abc import Mapping
from typing import Any, cast, get_args
from uuid import UUID

from flask import Blueprint, Response

from models import credentials
from models.capabilities import (
    CHANNELS,
    CREDENTIALS,
    DEFAULT_RATES_PER_S,
    checked_settings,
)
from models.errors import InvalidInputError
from models.limit import Limit
from models.payload import checked_defaults
from models.plan import Mode, Policy
from models.queries.accounts import change_credentials
from models.queries.holding import release_config
from models.queries.tenants import NewConfig, config_by_id, configs, create_config
from web_app.auth import caller
from web_app.bodies import answer, json_object, mapping_field, only, text_field, within
from web_app.services import services

send_configs = Blueprint("send_configs", __name__, url_prefix="/api/send-configs")

#: The fastest rate a config may state, in what its provider counts.
_MOST_PER_S = 1_000_000
_FIELDS = frozenset(
    {"name", "channel", "provider", "mode", "settings", "credentials", "rateLimit"}
    | {"policy", "defaults"}
)


@send_configs.post("")
def create() -> Response:
    """Store a config: 201; 409 when its name is taken."""
    tenant_id = caller()
    config = _new_config(json_object())
    with services().database.transaction() as connection:
        row = create_config(connection, tenant_id, config)
    return answer(_shown(row), 201)


@send_configs.get("")
def index() -> Response:
    """Show the tenant's configs by name."""
    tenant_id = caller()
    with services().database.statement() as connection:
        rows = configs(connection, tenant_id)
    return answer({"sendConfigs": [_shown(row) for row in rows]})


@send_configs.post("/<uuid:config_id>/resume")
def resume(config_id: UUID) -> Response:
    """Let a config that was held send again."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        release_config(connection, tenant_id, config_id)
        return answer(_shown(config_by_id(connection, tenant_id, config_id)))


@send_configs.put("/<uuid:config_id>/credentials")
def change(config_id: UUID) -> Response:
    """Give a config other credentials; they are used within seconds."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        row = config_by_id(connection, tenant_id, config_id)
        sealed = _sealed(json_object(), row["provider"])
        change_credentials(connection, tenant_id, row, sealed)
        return answer(_shown(config_by_id(connection, tenant_id, config_id)))


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "channel": row["channel"],
        "provider": row["provider"],
        "mode": row["mode"],
        "settings": row["settings"],
        "rateLimit": {"perSecond": row["rate_per_s"], "burst": row["rate_burst"]},
        "policy": row["policy"],
        "defaults": row["defaults"],
        "heldReason": row["held_reason"],
        "createdAt": row["created_at"],
    }


def _new_config(body: Mapping[str, Any]) -> NewConfig:
    only(body, _FIELDS)
    provider = text_field(body, "provider")
    mode = cast("Mode", _one_of(body, "mode", list(get_args(Mode)), default="byok"))
    given = mapping_field(body, "settings")
    if mode == "managed":
        given = _managed(provider, given, body)
    settings = _settings(provider, given)
    return NewConfig(
        name=text_field(body, "name"),
        channel=_one_of(body, "channel", sorted(CHANNELS[provider])),
        provider=provider,
        settings=settings,
        credentials=_credentials(body, provider, mode),
        limit=_limit(mapping_field(body, "rateLimit"), provider, mode),
        policy=cast(
            "Policy",
            _one_of(body, "policy", list(get_args(Policy)), default="at_most_once"),
        ),
        mode=mode,
        defaults=_defaults(mapping_field(body, "defaults")),
    )


def _managed(
    provider: str, given: Mapping[str, Any], body: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings with those that the platform's account has fixed."""
    if provider not in services().managed:
        raise InvalidInputError(
            f"This server has no account of its own at {provider}; give your "
            "credentials, and the mode “byok”.",
            field="mode",
        )
    if body.get("credentials"):
        raise InvalidInputError(
            "A managed config has no credentials: the platform's are used.",
            field="credentials",
        )
    fixed = services().managed[provider]
    for name, value in fixed.items():
        if given.get(name, value) != value:
            raise InvalidInputError(
                f"A managed config's {name!r} is {value!r}.", field=f"settings.{name}"
            )
    return {**given, **fixed}


def _defaults(given: Mapping[str, Any]) -> Mapping[str, Any]:
    with within("defaults"):
        return checked_defaults(given)


def _credentials(body: Mapping[str, Any], provider: str, mode: Mode) -> bytes | None:
    if mode == "managed":
        return None
    given = mapping_field(body, "credentials")
    with within("credentials"):
        return _sealed(given, provider)


def _settings(provider: str, given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return checked_settings(provider, given)
    except InvalidInputError as error:
        name = error.field.removeprefix("settings.")
        field = name if name == "provider" else f"settings.{name}"
        raise InvalidInputError(str(error), field=field) from error


def _one_of(
    body: Mapping[str, Any], name: str, known: list[str], *, default: str = ""
) -> str:
    value = body.get(name, default)
    if value not in known:
        raise InvalidInputError(
            f"{name!r} must be one of {', '.join(known)}.", field=name
        )
    return str(value)


def _sealed(given: Mapping[str, Any], provider: str) -> bytes | None:
    names = CREDENTIALS[provider]
    only(given, names)
    if not given and provider == "custom":
        return None
    for name in sorted(names):
        if not isinstance(given.get(name), str) or not given[name]:
            raise InvalidInputError(f"{name!r} must be a text.", field=name)
    return credentials.seal(given, services().credentials_key)


def _limit(given: Mapping[str, Any], provider: str, mode: Mode) -> Limit:
    only(given, frozenset({"perSecond", "burst"}), within="rateLimit.")
    per_s = given.get("perSecond", DEFAULT_RATES_PER_S[provider])
    burst = given.get("burst")
    if not _is_number(per_s) or not 0 < per_s <= _MOST_PER_S:
        raise InvalidInputError(
            f"'perSecond' must be a number above 0, at most {_MOST_PER_S}.",
            field="rateLimit.perSecond",
        )
    if burst is not None and not (_is_number(burst) and 1 <= burst <= _MOST_PER_S):
        raise InvalidInputError(
            f"'burst' must be a number from 1 to {_MOST_PER_S}.",
            field="rateLimit.burst",
        )
    limit, shared = Limit.of(per_s, burst), DEFAULT_RATES_PER_S[provider]
    # More than the shared bucket ever holds could never be taken from it at once.
    if mode == "managed" and max(limit.per_s, limit.burst) > shared:
        raise InvalidInputError(
            f"The platform's account at {provider} is shared and sends {shared:g} a "
            "second; a managed config cannot have more.",
            field="rateLimit.perSecond",
        )
    return limit


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
