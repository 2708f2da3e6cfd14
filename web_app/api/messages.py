"""Single messages, such as a password mail: taken, published at once, and looked at."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4, uuid5

import orjson
from dramatiq.errors import BrokerError
from flask import Blueprint, Response

from brokers import MessageTooLarge, dispatch
from models.addresses import Channel
from models.content import Content
from models.errors import ConflictError, InvalidInputError, NeighbourUnavailableError
from models.jobs import SendMessage
from models.message import Templates
from models.payload import content_of
from models.queries import messages as queries
from models.recipients import Block, Format, read
from web_app.api.batches import chosen_config, given_payload
from web_app.auth import caller
from web_app.bodies import answer, json_object, mapping_field, only
from web_app.idempotency import given_key
from web_app.sealing import sealed
from web_app.services import services

messages = Blueprint("messages", __name__, url_prefix="/api/messages")

log = logging.getLogger("batchsender.messages")

_FIELDS = frozenset({"sendConfigId", "sendConfig", "to", "variables", "payload"})


@messages.post("")
def create() -> Response:
    """Take one message and send it before all batches: 202 with its id.

    With an `Idempotency-Key` the same key of a tenant is one message, whatever it
    says the second time. 409 while the config is held: such mails do not keep.
    """
    tenant_id = caller()
    message_id = _id(tenant_id)
    body = json_object()
    only(body, _FIELDS)
    payload = given_payload(body)
    with services().database.statement() as connection:
        config = chosen_config(connection, tenant_id, body)
    if config["held_reason"]:
        raise ConflictError(f"The send config is held: {config['held_reason']}")
    batch = {
        "id": message_id,
        "tenant_id": tenant_id,
        "payload": payload,
        "config": config,
    }
    content = Content.of(content_of(batch, config))
    person = _person(body, Channel(config["channel"]), content)
    with services().database.statement() as connection:
        plan = sealed(connection, batch, content, largest_chunk=1)
        job = queries.take_message(
            connection,
            plan,
            payload,
            address=person.addresses[0],
            variables=person.variables[0],
        )
    if job is not None:
        _publish(job)
    taken = answer({"id": message_id}, 202)
    if job is None:
        taken.headers["Idempotent-Replayed"] = "true"
    return taken


@messages.get("/<uuid:message_id>")
def show(message_id: UUID) -> Response:
    """Show a message and what became of it."""
    tenant_id = caller()
    with services().database.statement() as connection:
        row = queries.message_by_id(connection, tenant_id, message_id)
    return answer(
        {
            "id": row["id"],
            "to": row["address"],
            "sendConfig": row["config_name"],
            "status": row["status"],
            "reason": row["reason"] or row["held_reason"],
            "providerMessageId": row["provider_message_id"],
            "error": row["error"],
            "createdAt": row["created_at"],
            "finishedAt": row["finished_at"],
        }
    )


def _id(tenant_id: UUID) -> UUID:
    """Return the message's id: a new one, or that of the caller's key."""
    key = given_key()
    return uuid4() if key is None else uuid5(tenant_id, key)


def _person(body: Mapping[str, Any], channel: Channel, content: Content) -> Block:
    """Return the recipient as a block of one, whose variables fit the templates."""
    row = {"address": body.get("to"), "variables": mapping_field(body, "variables")}
    raw = [orjson.dumps([row])]
    (person,) = read(raw, upload_format=Format.JSON, channel=channel)
    if person.invalid:
        raise InvalidInputError(person.invalid[0][1], field="to")
    templates = Templates.compile(content)
    missing = sorted(templates.missing_everywhere(person.names))
    if missing:
        raise InvalidInputError(
            f"The templates name {', '.join(missing)}, which the variables lack.",
            field="variables",
        )
    return person


def _publish(job: SendMessage) -> None:
    """Publish what is committed, and mark it.

    Where that fails the message is taken all the same: the scheduler publishes what
    is left within seconds (fail open).
    """
    job = replace(job, published_at=time.time())
    broker, sent = services().broker, {"dedup_id": job.message_id}
    try:
        try:
            dispatch.send(broker, job, **sent)
        except MessageTooLarge:
            dispatch.send(broker, job.by_name(), **sent)
        with services().database.statement() as connection:
            queries.mark_messages_published(connection, [job])
    except (BrokerError, NeighbourUnavailableError) as error:
        log.warning("A message is left to the scheduler: %s", error)
