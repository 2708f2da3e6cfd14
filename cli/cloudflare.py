"""Address records at Cloudflare: read one, and change it.

https://developers.cloudflare.com/api/resources/dns/subresources/records/
"""

from dataclasses import dataclass
from typing import Any

import requests

from models.errors import NeighbourUnavailableError

URL = "https://api.cloudflare.com/client/v4"
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """One A record.

    Attributes:
        comment: Free text beside it, of up to 100 characters; nobody resolves it.
    """

    record_id: str
    name: str
    address: str
    comment: str


class Zone:
    """The records of one zone.

    Every method raises `NeighbourUnavailableError` when Cloudflare does not answer or
    refuses; nothing was changed that it did not confirm.
    """

    def __init__(self, zone_id: str, token: str, *, url: str = URL) -> None:
        self._url = f"{url}/zones/{zone_id}/dns_records"
        self._headers = {"Authorization": f"Bearer {token}"}

    def record(self, name: str) -> Record:
        """Return the A record of a name; there has to be exactly one."""
        found = self._call("GET", "", params={"type": "A", "name": name})
        if len(found) != 1:
            raise NeighbourUnavailableError(
                f"Cloudflare has {len(found)} A records for {name}; make it one."
            )
        one = found[0]
        return Record(one["id"], one["name"], one["content"], one.get("comment") or "")

    def change(self, record: Record, *, address: str, comment: str) -> None:
        """Let a record lead to an address, with a comment; again changes nothing."""
        wanted = {"content": address, "comment": comment}
        self._call("PATCH", f"/{record.record_id}", json=wanted)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = requests.request(
                method,
                self._url + path,
                headers=self._headers,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
                **options,
            )
            body = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise NeighbourUnavailableError(
                "Cloudflare does not answer; the names stay where they are."
            ) from error
        if not answer.ok or not body.get("success"):
            codes = [one.get("code") for one in body.get("errors") or []]
            raise NeighbourUnavailableError(
                f"Cloudflare refuses with {answer.status_code} and codes {codes}; see"
                " CLOUDFLARE_API_TOKEN and CLOUDFLARE_ZONE_ID."
            )
        return body["result"]
