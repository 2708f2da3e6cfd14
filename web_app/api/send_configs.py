"""Send configs: how a tenant's batches are sent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, get_args
from uuid import UUID

from flask import Blueprint, Response

from models import credentials
from models.breaker import BreakerSeen
from models.capabilities import (
    CHANNELS,
    CREDENTIALS,
    DEFAULT_RATES_PER_S,
    Capabilities,
    capabilities,
    checked_settings,
)
from models.errors import InvalidInputError
from models.levels import managed_limit
from models.limit import Limit
from models.patience import PATIENCE, Patience
from models.payload import checked_defaults
from models.plan import Mode, Policy
from models.queries.accounts import change_credentials
from models.queries.holding import release_config
from models.queries.tenants import NewConfig, config_by_id, configs, create_config
from web_app.api import reporting_secrets
from web_app.api.fallbacks import fallback_of
from web_app.auth import caller
from web_app.bodies import answer, json_object, mapping_field, only, text_field, within
from web_app.services import breaker_seen, services

send_configs = Blueprint("send_configs", __name__, url_prefix="/api/send-configs")

#: The fastest rate a config may state, in what its provider counts.
_MOST_PER_S = 1_000_000
#: A batch stays open no longer than this for who is refused again and again.
_MOST_PATIENCE_S = 30 * 86_400
_FIELDS = frozenset(
    {"name", "channel", "provider", "mode", "settings", "credentials", "rateLimit"}
    | {"policy", "defaults", "retryLimit", "webhookSecret", "fallback"}
)


@send_configs.post("")
def create() -> Response:
    """Store a config: 201; 409 when its name is taken."""
    tenant_id, body = caller(), json_object()
    config = _new_config(body)
    with services().database.transaction() as connection:
        if body.get("fallback") is not None:
            other = fallback_of(connection, tenant_id, config, body)
            config = replace(config, fallback_id=other)
        row = create_config(connection, tenant_id, config)
        if body.get("webhookSecret") is not None:
            row = reporting_secrets.change(connection, row, body["webhookSecret"])
    return answer(_shown(row, breaker_seen(row["id"])), 201)


@send_configs.get("")
def index() -> Response:
    """Show the tenant's configs by name."""
    tenant_id = caller()
    with services().database.statement() as connection:
        rows = configs(connection, tenant_id)
    return answer({"sendConfigs": [*_all_shown(rows)]})


@send_configs.post("/<uuid:config_id>/resume")
def resume(config_id: UUID) -> Response:
    """Let a config that was held send again."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        release_config(connection, tenant_id, config_id)
        row = config_by_id(connection, tenant_id, config_id)
    return answer(_shown(row, breaker_seen(config_id)))


@send_configs.put("/<uuid:config_id>/credentials")
def change(config_id: UUID) -> Response:
    """Give a config other credentials; they are used within seconds."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        row = config_by_id(connection, tenant_id, config_id)
        sealed = _sealed(json_object(), row["provider"])
        change_credentials(connection, tenant_id, row, sealed)
        row = config_by_id(connection, tenant_id, config_id)
    return answer(_shown(row, breaker_seen(config_id)))


@send_configs.put("/<uuid:config_id>/webhook-secret")
def change_reporting(config_id: UUID) -> Response:
    """Say by what a config's reports are believed; null takes it back."""
    tenant_id, body = caller(), json_object()
    only(body, frozenset({"webhookSecret"}))
    with services().database.transaction() as connection:
        row = config_by_id(connection, tenant_id, config_id)
        row = reporting_secrets.change(connection, row, body.get("webhookSecret"))
    return answer(_shown(row, breaker_seen(config_id)))


def _all_shown(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield configs as they are shown; Dragonfly away, it is asked once."""
    is_told = True
    for row in rows:
        seen = breaker_seen(row["id"]) if is_told else None
        is_told = seen is not None
        yield _shown(row, seen)


def _shown(row: Mapping[str, Any], seen: BreakerSeen | None) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "channel": row["channel"],
        "provider": row["provider"],
        "mode": row["mode"],
        "settings": row["settings"],
        "rateLimit": {"perSecond": row["rate_per_s"], "burst": row["rate_burst"]},
        "policy": row["policy"],
        "retryLimit": {"seconds": row["retry_for_s"], "times": row["retry_times"]},
        "defaults": row["defaults"],
        "webhookPath": reporting_secrets.path_of(row),
        "fallback": row["fallback"],
        "heldReason": row["held_reason"],
        "heldUntil": row["held_until"],
        "breaker": _breaker(seen) if seen else None,
        "createdAt": row["created_at"],
    }


def _breaker(seen: BreakerSeen) -> Mapping[str, Any]:
    return {
        "state": seen.state,
        "openForSeconds": seen.open_for_s,
        "nextProbeInSeconds": seen.next_probe_in_s,
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
        limit=_limit(
            mapping_field(body, "rateLimit"),
            provider,
            capabilities(provider, settings),
            mode,
        ),
        policy=cast(
            "Policy",
            _one_of(body, "policy", list(get_args(Policy)), default="at_most_once"),
        ),
        patience=_patience(mapping_field(body, "retryLimit")),
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


def _limit(
    given: Mapping[str, Any], provider: str, able: Capabilities, mode: Mode
) -> Limit:
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
    limit = able.default_limit(per_s) if burst is None else Limit(per_s, burst)
    if mode == "managed":
        _check_share(limit, managed_limit(able))
    return limit


def _check_share(limit: Limit, shared: Limit) -> None:
    """Refuse what the level of the platform's account would never let through."""
    for name, asked, most in (
        ("perSecond", limit.per_s, shared.per_s),
        ("burst", limit.burst, shared.burst),
    ):
        if asked > most:
            raise InvalidInputError(
                f"A managed config shares the platform's account: {name!r} is at most "
                f"{most:g}.",
                field=f"rateLimit.{name}",
            )


def _patience(given: Mapping[str, Any]) -> Patience:
    only(given, frozenset({"seconds", "times"}), within="retryLimit.")
    for_s, times = given.get("seconds", PATIENCE.for_s), given.get("times")
    if not _is_number(for_s) or not 0 < for_s <= _MOST_PATIENCE_S:
        raise InvalidInputError(
            f"'seconds' must be a number above 0, at most {_MOST_PATIENCE_S}.",
            field="retryLimit.seconds",
        )
    if times is not None and (type(times) is not int or not 1 <= times <= 1000):
        raise InvalidInputError(
            "'times' must be a whole number from 1 to 1000.", field="retryLimit.times"
        )
    return Patience(float(for_s), times)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
