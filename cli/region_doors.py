"""Whether a region's door answers, asked at its address and by its name."""

import http.client
import socket
import ssl
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Door:
    """What is asked of a region, as the internet sees it.

    Attributes:
        host: The name that is asked for, whatever it resolves to.
        path: A page that needs no neighbour to be refused.
        status: What our process refuses it with. Anything else comes from the
            Ingress, when there is no process behind it.
    """

    host: str
    path: str
    status: int


#: Of /health nothing is known outside; these refusals only our own processes make.
DOORS = (
    Door("api.batchsender.com", "/api/batches", 401),
    Door("webhooks.batchsender.com", "/webhooks/custom/dns-failover", 405),
)


@dataclass(frozen=True, slots=True)
class Looker:
    """How doors are asked.

    Attributes:
        tls: How their certificates are judged; none for plain HTTP.
        tries: How often at most; one answer is enough.
        timeout_s: How long each may take.
    """

    port: int = 443
    tls: ssl.SSLContext | None = None
    tries: int = 3
    timeout_s: float = 4.0
    pause_s: float = 1.0

    def answers(self, address: str, door: Door) -> bool:
        """Tell whether our process answers behind a door at an address."""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.pause_s)
            if self._status(address, door) == door.status:
                return True
        return False

    def _status(self, address: str, door: Door) -> int | None:
        try:
            with socket.create_connection((address, self.port), self.timeout_s) as raw:
                return self._ask(raw, door)
        except (OSError, http.client.HTTPException):
            return None

    def _ask(self, raw: socket.socket, door: Door) -> int:
        # The certificate is that of the name, and the address need not be its own.
        sock = self.tls.wrap_socket(raw, server_hostname=door.host) if self.tls else raw
        connection = http.client.HTTPConnection(door.host, timeout=self.timeout_s)
        connection.sock = sock
        try:
            connection.request("GET", door.path, headers={"User-Agent": "dns-failover"})
            return connection.getresponse().status
        finally:
            connection.close()
