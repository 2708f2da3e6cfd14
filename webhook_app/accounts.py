"""By what secrets a report is believed: the platform's, or those of a tenant's config.

Tenants' come from a bucket in NATS, where the scheduler puts them sealed. What was read
is used for 2 s, so that a change counts within 5 s, the scheduler's second included.
While NATS is away, what is known is used on, and about others nobody can tell.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from models.errors import (
    InvalidInputError,
    NeighbourUnavailableError,
    NotFoundError,
)
from models.webhook_secrets import WebhookSecret, sealed_in

#: For how long what was read is taken for what there is.
FRESH_S = 2.0
#: So many configs are remembered; the ones used longest ago go first.
MAX_KNOWN = 10_000
#: After NATS did not answer nobody asks it for so long.
PAUSE_S = 1.0

_log = logging.getLogger(__name__)

#: Returns the value of a config's id; raises `NeighbourUnavailableError`.
LookUp = Callable[[str], bytes | None]


class Accounts:
    """Knows secrets by provider, and by config; any number of threads.

    Args:
        platform: The platform's own by provider, several by commas; `""` for none.
        look_up: Asks the bucket.
        keys: The setting `WEBHOOK_SECRETS_KEY`.
    """

    def __init__(self, platform: Mapping[str, str], look_up: LookUp, keys: str) -> None:
        self._platform = platform
        self._look_up = look_up
        self._keys = keys
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[float, WebhookSecret | None]] = (
            OrderedDict()
        )
        self._away_until = 0.0

    def of_platform(self, provider: str) -> str:
        """Return the platform's own secrets by commas; `""` for none."""
        return self._platform.get(provider, "")

    def of_config(self, provider: str, config_id: str) -> str:
        """Return a config's secrets by commas; `""` when they were taken back.

        Raises:
            NotFoundError: There is no such config of this provider.
            NeighbourUnavailableError: Nobody can tell while NATS is away.
        """
        found = self._secret(config_id)
        if found is None or found.provider != provider:
            raise NotFoundError("There is no such send config.")
        return ",".join(found.secrets)

    def _secret(self, config_id: str) -> WebhookSecret | None:
        since, known = self._known.get(config_id, (float("-inf"), None))
        now = time.monotonic()
        if now - since < FRESH_S:
            return known
        try:
            found = self._read(config_id, now)
        except NeighbourUnavailableError:
            if known is None:
                raise
            return known
        with self._lock:
            self._known[config_id] = (now, found)
            self._known.move_to_end(config_id)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return found

    def _read(self, config_id: str, now: float) -> WebhookSecret | None:
        if now < self._away_until:
            raise NeighbourUnavailableError("NATS did not answer a moment ago.")
        try:
            value = self._look_up(config_id)
        except NeighbourUnavailableError:
            self._away_until = time.monotonic() + PAUSE_S
            raise
        return None if value is None else self._opened(config_id, value)

    def _opened(self, config_id: str, value: bytes) -> WebhookSecret:
        try:
            found = WebhookSecret.unseal(sealed_in(value), self._keys)
        except InvalidInputError as error:
            # Not the sender's fault, and it may be healed: the provider comes back.
            _log.warning(
                "The secret of config %s cannot be opened: %s", config_id, error
            )
            raise NeighbourUnavailableError(str(error)) from error
        if found.config_id != config_id:
            raise NeighbourUnavailableError("The bucket holds another config's secret.")
        return found
