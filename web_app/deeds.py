"""Every deed of a caller is written down before it hears that it is done.

One hook for all addresses: whoever adds one that changes something need not think of
it. What an entry tells is named here field by field, so that nothing of a body gets
in by itself: no credentials, no variables, no content.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Flask, Response, g, request

from models.errors import NeighbourUnavailableError
from web_app.services import services

_READS = frozenset({"GET", "HEAD", "OPTIONS"})

#: Addresses whose requests are traffic and no deeds: each message is a recipient with
#: a timeline of its own.
UNAUDITED = frozenset({"messages.create"})


@dataclass(frozen=True, slots=True)
class Deed:
    """What a request does, and what its entry tells.

    Attributes:
        action: Such as `batch.cancelled`.
        kind: What it is done to, such as `batch`.
        asked: Fields of the request's JSON body.
        answered: Fields of the answer.
        named: Parameters of the query.
        place: Parts of the path that say which one, where it has no id of its own.
    """

    action: str
    kind: str
    asked: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    place: tuple[str, ...] = ()


#: By endpoint; one that is not here is told by its name alone.
DEEDS = {
    "attachments.create": Deed("attachment.stored", "attachment", (), ("bytes",)),
    "batches.create": Deed(
        "batch.created",
        "batch",
        ("sendConfig", "sendConfigId", "scheduledAt"),
        ("name", "recipients"),
    ),
    "recipients.upload": Deed(
        "batch.recipients_added",
        "batch",
        answered=("rows", "recipients", "duplicates", "invalid"),
        named=("part",),
    ),
    "control.send": Deed("batch.sent", "batch", ("scheduledAt",), ("recipients",)),
    "control.pause": Deed("batch.paused", "batch"),
    "control.resume": Deed("batch.resumed", "batch"),
    "control.cancel": Deed("batch.cancelled", "batch"),
    "send_configs.create": Deed(
        "config.created",
        "config",
        answered=("name", "channel", "provider", "mode", "policy", "rateLimit"),
    ),
    "send_configs.resume": Deed("config.resumed", "config", answered=("name",)),
    "send_configs.change": Deed(
        "config.credentials_changed", "config", answered=("name", "provider")
    ),
    "suppressions.add": Deed(
        "suppressions.added",
        "suppressions",
        answered=("added", "known", "invalid"),
        named=("channel",),
    ),
    "api_keys.create": Deed(
        "api_key.created", "api_key", answered=("prefix", "name", "scopes", "expiresAt")
    ),
    "api_keys.revoke": Deed("api_key.revoked", "api_key", place=("prefix",)),
    "rate_limits.override": Deed(
        "limit.overridden",
        "limit",
        ("perSecond", "burst", "reason"),
        place=("level", "name"),
    ),
    "rate_limits.restore": Deed("limit.restored", "limit", place=("level", "name")),
    "suppressions.remove": Deed(
        "suppressions.removed", "suppressions", named=("channel",)
    ),
    "send_configs.change_reporting": Deed(
        "config.webhook_secret_changed", "config", answered=("name", "provider")
    ),
    # Nothing of an endpoint's address: it may hold a secret.
    "webhook_endpoints.create": Deed(
        "endpoint.created", "endpoint", answered=("events",)
    ),
    "webhook_endpoints.change": Deed(
        "endpoint.changed", "endpoint", answered=("events", "state")
    ),
    "webhook_endpoints.delete": Deed("endpoint.deleted", "endpoint"),
    "webhook_endpoints.rotate": Deed(
        "endpoint.secret_rotated", "endpoint", ("overlapSeconds",)
    ),
    "webhook_endpoints.test": Deed("endpoint.tested", "endpoint"),
    "webhook_endpoints.replay": Deed(
        "endpoint.replayed", "endpoint", ("since", "all"), ("replayed",)
    ),
    "webhook_endpoints.replay_one": Deed(
        "delivery.replayed", "delivery", place=("delivery_id",)
    ),
}


def write_down_deeds(app: Flask) -> None:
    """Have every request that changes something leave an entry.

    Fails closed: once the log has no room, nothing is done and 503 is answered. A
    process that is killed between a deed and its answer may leave no entry; its
    caller has no answer either.
    """
    app.before_request(_check_room)
    app.after_request(_write_down)


def _check_room() -> None:
    if _is_deed():
        services().audit.check_room()


def _write_down(response: Response) -> Response:
    actor = g.get("actor")
    is_done = response.status_code < 400 and not _is_replayed(response)
    if actor is None or not _is_deed() or not is_done:
        return response
    deed = _deed()
    answered = response.get_json(silent=True) if deed.answered or _is_new() else None
    told = answered if isinstance(answered, dict) else {}
    which = _object_id(deed, told)
    entry = actor.did(deed.action, deed.kind, which, **_details(deed, told))
    # It is done, and asked for again it might be done twice: without room the
    # process's own log tells it, and the next deed is refused.
    with suppress(NeighbourUnavailableError):
        services().audit.write(entry)
    return response


def _is_deed() -> bool:
    return (
        request.method not in _READS
        and request.endpoint is not None
        and request.endpoint not in UNAUDITED
    )


def _is_replayed(response: Response) -> bool:
    """Tell whether the answer is that of a request which was done before."""
    return response.headers.get("Idempotent-Replayed") == "true"


def _deed() -> Deed:
    endpoint = request.endpoint or ""
    return DEEDS.get(endpoint) or Deed(endpoint, endpoint.partition(".")[0])


def _is_new() -> bool:
    return not request.view_args


def _object_id(deed: Deed, told: Mapping[str, Any]) -> str:
    """Return the id that the address names; of what is new, that of the answer."""
    parts = request.view_args or {}
    if deed.place:
        return "/".join(str(parts[name]) for name in deed.place if parts[name])
    if parts:
        # A text may be anybody's: an address, for one.
        return next((str(one) for one in parts.values() if isinstance(one, UUID)), "")
    return str(told.get("id") or told.get("prefix") or told.get("sha256") or "")


def _details(deed: Deed, told: Mapping[str, Any]) -> dict[str, Any]:
    asked: Mapping[str, Any] = g.get("json_body", {})
    found = {name: request.args.get(name) for name in deed.named}
    found |= {name: asked.get(name) for name in deed.asked}
    found |= {name: told.get(name) for name in deed.answered}
    return {name: value for name, value in found.items() if value is not None}
