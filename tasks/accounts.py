"""The accounts at providers that this process sends by, and what they are called.

A call's account is written into the ledger before the call. A repeat by another account
would not meet the first call's key, so the ledger must be told of a change (design,
rule 6): the label and the credentials are always those of one reading.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from models import credentials
from models.credentials import fingerprint
from models.database import Database
from models.errors import InvalidInputError
from models.plan import Plan
from models.queries.accounts import Standing, sealed_account, standings
from providers import registry
from providers.guard import Guard
from providers.provider import Provider

#: Changed credentials are used after this time at the latest.
_FRESH_S = 2.0


class Accounts:
    """Providers by account; safe for many threads.

    Fails closed: while Postgres is away it cannot tell whether credentials were
    changed, and no call begins anyway.

    Args:
        database: Where configs are.
        keys: The setting `CREDENTIALS_KEY`.
        managed: The platform's credentials by provider.
        guard: Where calls may go.
    """

    def __init__(
        self,
        database: Database,
        *,
        keys: str,
        managed: Mapping[str, Mapping[str, str]],
        guard: Guard,
    ) -> None:
        self._database = database
        self._keys = keys
        self._managed = managed
        self._labels = {
            name: f"managed:{name}:{fingerprint(secret)}"
            for name, secret in managed.items()
        }
        self._guard = guard
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._standings: dict[str, Standing] = {}
        self._providers: dict[tuple[str, str], Provider] = {}

    def label(self, plan: Plan) -> str:
        """Return whose account sends for a plan now; at most 2 s old.

        Raises `InvalidInputError` when a managed provider has no credentials here.
        """
        if plan.mode == "managed":
            return self._managed_label(plan.provider)
        return f"{plan.config_id}:{self._standing(plan.config_id).revision}"

    def is_held(self, plan: Plan) -> bool:
        """Tell whether a plan's config is held; at most 2 s old.

        The ledger's statements ask that of a batch's own config; a fall-back is looked
        at here.
        """
        return self._standing(plan.config_id).is_held

    def provider(self, plan: Plan) -> tuple[str, Provider]:
        """Return the label and the provider that calls by that account."""
        label, secret = self._account(plan)
        # A provider has the settings of the plan, which is older than its account.
        key = (plan.account, label)
        with self._lock:
            if key not in self._providers:
                self._providers[key] = registry.build(
                    plan.provider, plan.settings, secret, guard=self._guard
                )
            return label, self._providers[key]

    def close(self) -> None:
        """Close the providers' connections."""
        for provider in self._providers.values():
            provider.close()

    def _standing(self, config_id: str) -> Standing:
        with self._lock:
            is_old = time.monotonic() - self._read_at > _FRESH_S
            if is_old or config_id not in self._standings:
                self._refresh(config_id)
            return self._standings[config_id]

    def _refresh(self, config_id: str) -> None:
        asked_at = time.monotonic()
        with self._database.statement() as connection:
            known = {*self._standings, config_id}
            self._standings = dict(standings(connection, known))
        self._read_at = asked_at

    def _account(self, plan: Plan) -> tuple[str, Mapping[str, str]]:
        if plan.mode == "managed":
            return self._managed_label(plan.provider), self._managed[plan.provider]
        with self._database.statement() as connection:
            revision, sealed = sealed_account(connection, plan.config_id)
        with self._lock:
            known = self._standings.get(plan.config_id, Standing(revision))
            self._standings[plan.config_id] = replace(known, revision=revision)
        return f"{plan.config_id}:{revision}", credentials.unseal(sealed, self._keys)

    def _managed_label(self, provider: str) -> str:
        if provider not in self._labels:
            raise InvalidInputError(
                f"This worker has no credentials of the platform's account at "
                f"{provider}; set them in its environment."
            )
        return self._labels[provider]
