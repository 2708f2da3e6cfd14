"""The HTTP API as the commands use it; its refusals become sentences."""

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from cli.credentials import Credentials
from cli.parts import CONTENT_TYPES, Part
from models.errors import (
    BatchSenderError,
    ConflictError,
    InvalidInputError,
    NeighbourUnavailableError,
    NotFoundError,
)
from models.recipients import Format

Json = dict[str, Any]

_ENDPOINTS = "/api/webhook-endpoints"
_TIMEOUT_S = (5, 60)
_UPLOAD_TIMEOUT_S = (5, 300)
#: The pauses before a part is tried again, in seconds.
_RETRY_AFTER_S = (0.5, 1, 2, 4)

_ERRORS: Mapping[int, type[BatchSenderError]] = {
    400: InvalidInputError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidInputError,
    415: InvalidInputError,
    422: InvalidInputError,
}


_LIMITS = "/api/admin/rate-limits"


class Api:
    """One tenant's view of a running BatchSender; connects when first used.

    Every method raises `BatchSenderError` with the API's own sentence, and
    `NeighbourUnavailableError` where no answer or a 5xx came: what was asked may
    then have been done.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.url = credentials.url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {credentials.api_key}"
        # A proxy of the company's network does not know our loopback.
        host = urlsplit(self.url).hostname
        self._session.trust_env = host not in {"127.0.0.1", "localhost", "::1"}

    def configs(self) -> list[Json]:
        """Return the tenant's send configs."""
        found: list[Json] = self._ask("GET", "/api/send-configs")["sendConfigs"]
        return found

    def config(self, name: str) -> Json:
        """Return the config of that name; `NotFoundError` says how to make one."""
        for config in self.configs():
            if config["name"] == name:
                return config
        raise NotFoundError(
            f"There is no send config {name!r}; make it with "
            f"`batchsender config create {name} --url URL`."
        )

    def create_config(self, config: Json) -> Json:
        """Return the new config; the same name again is a `ConflictError`."""
        return self._ask("POST", "/api/send-configs", json=config)

    def create_batch(self, batch: Json) -> Json:
        """Return the new draft."""
        return self._ask("POST", "/api/batches", json=batch)

    def batch(self, batch_id: str) -> Json:
        """Return one batch with its counts and stations."""
        return self._ask("GET", f"{_path(batch_id)}")

    def batches(self) -> Iterator[Json]:
        """Yield all batches, newest first, a page at a time."""
        return self._pages("/api/batches", "batches", limit=50)

    def recipients(self, batch_id: str, status: str | None) -> Iterator[Json]:
        """Yield the recipients in the order of seq, of one status or all."""
        path = f"{_path(batch_id)}/recipients"
        return self._pages(path, "recipients", limit=1000, status=status)

    def upload(self, batch_id: str, part: Part, content_type: str) -> Json:
        """Return what became of a part's rows.

        A part that got no answer is sent again under its number, which counts once.
        """
        for pause_s in (*_RETRY_AFTER_S, None):
            try:
                return self._ask(
                    "POST",
                    f"{_path(batch_id)}/recipients",
                    params={"part": part.number},
                    data=part.body,
                    headers={"Content-Type": content_type},
                    timeout=_UPLOAD_TIMEOUT_S,
                )
            except NeighbourUnavailableError:
                if pause_s is None:
                    raise
                time.sleep(pause_s)
        raise AssertionError("The last attempt returned or raised.")

    def suppress(self, channel: str, part: Part, upload_format: Format) -> Json:
        """Return what became of a part's rows; the same again changes nothing."""
        return self._ask(
            "POST",
            "/api/suppressions",
            params={"channel": channel},
            data=part.body,
            headers={"Content-Type": CONTENT_TYPES[upload_format]},
            timeout=_UPLOAD_TIMEOUT_S,
        )

    def unsuppress(self, channel: str, address: str) -> None:
        """Take an address off the tenant's list."""
        named = {"channel": channel, "address": address}
        self._answer("DELETE", "/api/suppressions", params=named)

    def suppressions(self, channel: str) -> Iterator[Json]:
        """Yield the tenant's list by address."""
        path = "/api/suppressions"
        return self._pages(path, "suppressions", limit=1000, channel=channel)

    def limits(self) -> list[Json]:
        """Return what the operator changed of limits, by scope."""
        found: list[Json] = self._ask("GET", _LIMITS)["overrides"]
        return found

    def limit(self, scope: str) -> Json:
        """Return a limit, of a scope such as `tenant/0193…`."""
        return self._ask("GET", f"{_LIMITS}/{quote(scope)}")

    def set_limit(self, scope: str, limit: Json) -> Json:
        """Return the limit that holds from now on."""
        return self._ask("PUT", f"{_LIMITS}/{quote(scope)}", json=limit)

    def reset_limit(self, scope: str) -> None:
        """Let a limit be its default; `NotFoundError` when it is."""
        self._answer("DELETE", f"{_LIMITS}/{quote(scope)}")

    def send_one(self, message: Json, key: str | None) -> Json:
        """Return the single message that was taken; the same key takes it once."""
        headers = {"Idempotency-Key": key} if key else {}
        return self._ask("POST", "/api/messages", json=message, headers=headers)

    def message(self, message_id: str) -> Json:
        """Return a single message and what became of it."""
        return self._ask("GET", f"/api/messages/{quote(message_id, safe='')}")

    def send(self, batch_id: str, scheduled_at: str | None) -> Json:
        """Return the batch, queued now or for later."""
        asked = {"scheduledAt": scheduled_at} if scheduled_at else {}
        return self._ask("POST", f"{_path(batch_id)}/send", json=asked)

    def change(self, batch_id: str, verb: str) -> Json:
        """Return the batch after `pause`, `resume` or `cancel`."""
        return self._ask("POST", f"{_path(batch_id)}/{verb}")

    def stats(self, batch_id: str) -> Json:
        """Return the batch's counts as ClickHouse knows them."""
        return self._ask("GET", f"{_path(batch_id)}/stats")

    def endpoints(self) -> list[Json]:
        """Return the tenant's webhook endpoints."""
        found: list[Json] = self._ask("GET", _ENDPOINTS)["webhookEndpoints"]
        return found

    def create_endpoint(self, endpoint: Json) -> Json:
        """Return the new webhook endpoint with its secret."""
        return self._ask("POST", _ENDPOINTS, json=endpoint)

    def delete_endpoint(self, endpoint_id: str) -> None:
        """Delete a webhook endpoint."""
        self._answer("DELETE", _endpoint(endpoint_id))

    def test_endpoint(self, endpoint_id: str) -> Json:
        """Return the delivery of a test event."""
        return self._ask("POST", f"{_endpoint(endpoint_id)}/test")

    def deliveries(self, endpoint_id: str) -> list[Json]:
        """Return the latest deliveries to a webhook endpoint."""
        path = f"{_endpoint(endpoint_id)}/deliveries"
        found: list[Json] = self._ask("GET", path)["deliveries"]
        return found

    def replay(self, endpoint_id: str, asked: Json) -> Json:
        """Return how much is delivered once more."""
        return self._ask("POST", f"{_endpoint(endpoint_id)}/replay", json=asked)

    def neighbours(self) -> dict[str, str]:
        """Return how the API sees its neighbours: `ok` or `away`, by name."""
        # A missing one makes the answer a 503 that tells as much.
        found: dict[str, str] = self._ask("GET", "/health/ready", accepted=(503,)).get(
            "neighbours", {}
        )
        return found

    def _pages(self, path: str, name: str, **params: Any) -> Iterator[Json]:
        after = None
        while True:
            page = self._ask("GET", path, params={**params, "after": after})
            yield from page[name]
            after = page["next"]
            if after is None:
                return

    def _ask(
        self, method: str, path: str, *, accepted: Collection[int] = (), **options: Any
    ) -> Json:
        return _object(self._answer(method, path, accepted=accepted, **options))

    def _answer(
        self, method: str, path: str, *, accepted: Collection[int] = (), **options: Any
    ) -> requests.Response:
        options = {"timeout": _TIMEOUT_S, "allow_redirects": False, **options}
        try:
            answer = self._session.request(method, self.url + path, **options)
        except requests.RequestException as error:
            raise NeighbourUnavailableError(
                f"The API at {self.url} does not answer; start it with "
                "`batchsender up`, or check BATCHSENDER_URL."
            ) from error
        if answer.status_code >= 300 and answer.status_code not in accepted:
            raise _refusal(answer)
        return answer


def _endpoint(endpoint_id: str) -> str:
    return f"{_ENDPOINTS}/{quote(endpoint_id, safe='')}"


def _path(batch_id: str) -> str:
    return f"/api/batches/{quote(batch_id, safe='')}"


def _refusal(answer: requests.Response) -> BatchSenderError:
    code = answer.status_code
    detail = _detail(answer)
    if code >= 500:
        return NeighbourUnavailableError(
            detail or f"The API failed ({code}); try again, then look at its log."
        )
    kind = _ERRORS.get(code, BatchSenderError)
    return kind(detail or f"The API refused ({code}); check BATCHSENDER_URL.")


def _detail(answer: requests.Response) -> str:
    try:
        problem = answer.json()
    except requests.JSONDecodeError:
        return ""
    return str(problem.get("detail", "")) if isinstance(problem, dict) else ""


def _object(answer: requests.Response) -> Json:
    try:
        found = answer.json()
    except requests.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise BatchSenderError(
            f"{answer.url.split('?')[0]} gave no JSON object; check BATCHSENDER_URL."
        )
    return found
