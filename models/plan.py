"""Everything a send depends on, fixed when the batch was sealed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.capabilities import Capabilities, capabilities
from models.limit import Grid, Limit, grid

Policy = Literal["at_most_once", "at_least_once"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch's sealed decisions; every copy of a chunk is sent by the same plan.

    Attributes:
        batch_id: The batch, as text.
        tenant_id: Whose it is.
        config_id: The send config whose credentials are used.
        account: The config and its revision; a repeat by another account would not
            meet the key of the first call.
        channel: `email`, `sms` or `webhook`.
        provider: The provider's name.
        settings: The config's settings at that time.
        content: The batch's templates (see `models.message`).
        policy: What to do about outcomes that stayed unknown.
        limit: The config's rate in what the provider counts.
        grid: How the batch is cut.
    """

    batch_id: str
    tenant_id: str
    config_id: str
    account: str
    channel: str
    provider: str
    settings: Mapping[str, Any]
    content: Mapping[str, Any]
    policy: Policy
    limit: Limit
    grid: Grid

    @property
    def capabilities(self) -> Capabilities:
        """Return what the provider can do under this plan's settings."""
        return capabilities(self.provider, self.settings)

    @property
    def keyed(self) -> bool:
        """Tell whether a call may be repeated under its idempotency key."""
        return self.capabilities.keeps_idempotency_keys

    def sealed(self) -> dict[str, Any]:
        """Return the plan as the JSON of `batches.sealed`."""
        return {
            "account": self.account,
            "channel": self.channel,
            "provider": self.provider,
            "settings": dict(self.settings),
            "content": dict(self.content),
            "policy": self.policy,
            "perSecond": self.limit.per_s,
            "burst": self.limit.burst,
            "chunk": self.grid.chunk,
            "call": self.grid.call,
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Plan":
        """Return the plan that a row of `batches` was sealed with."""
        sealed = row["sealed"]
        return cls(
            batch_id=str(row["id"]),
            tenant_id=str(row["tenant_id"]),
            config_id=str(row["config_id"]),
            account=sealed["account"],
            channel=sealed["channel"],
            provider=sealed["provider"],
            settings=sealed["settings"],
            content=sealed["content"],
            policy=sealed["policy"],
            limit=Limit(sealed["perSecond"], sealed["burst"]),
            grid=Grid(sealed["chunk"], sealed["call"]),
        )

    @classmethod
    def seal(
        cls,
        batch: Mapping[str, Any],
        config: Mapping[str, Any],
        *,
        largest_chunk: int,
    ) -> "Plan":
        """Return the plan for a batch that is about to be sent by `config`."""
        limit = Limit(config["rate_per_s"], config["rate_burst"])
        able = capabilities(config["provider"], config["settings"])
        return cls(
            batch_id=str(batch["id"]),
            tenant_id=str(batch["tenant_id"]),
            config_id=str(config["id"]),
            account=f"{config['id']}:{config['revision']}",
            channel=config["channel"],
            provider=config["provider"],
            settings=config["settings"],
            content=batch["payload"],
            policy=config["policy"],
            limit=limit,
            grid=grid(limit, max_batch=able.max_batch, largest_chunk=largest_chunk),
        )
