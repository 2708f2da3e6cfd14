"""Everything a send depends on, fixed when the batch was sealed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.capabilities import Capabilities, capabilities
from models.content import Attachment
from models.limit import Grid, Limit, grid
from models.payload import content_of
from models.unsubscribe import Unsubscribing

Policy = Literal["at_most_once", "at_least_once"]
#: Whose account at the provider sends: the platform's, or the tenant's own.
Mode = Literal["managed", "byok"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch's sealed decisions; every copy of a chunk is sent by the same plan.

    Attributes:
        batch_id: The batch, as text.
        tenant_id: Whose it is.
        config_id: The send config whose credentials are used.
        account: Whose account was called; a repeat by another account would not meet
            the key of the first call. As sealed it is the config and its revision; a
            worker puts in the one that it calls with (`tasks.accounts`).
        channel: `email`, `sms` or `webhook`.
        provider: The provider's name.
        settings: The config's settings at that time.
        content: The batch's templates (see `models.message`).
        policy: What to do about outcomes that stayed unknown.
        limit: The config's rate in what the provider counts.
        grid: How the batch is cut.
        mode: Whose account the config uses.
        unsubscribing: How links to unsubscribe by are made; none where the content
            asks for none.
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
    mode: Mode = "byok"
    unsubscribing: Unsubscribing | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Return what the provider can do under this plan's settings."""
        return capabilities(self.provider, self.settings)

    @property
    def keyed(self) -> bool:
        """Tell whether a call may be repeated under its idempotency key."""
        return self.capabilities.keeps_idempotency_keys

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Return the files that each message carries; mostly none."""
        return tuple(map(Attachment.of, self.content.get("attachments", ())))

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
            "mode": self.mode,
            "unsubscribe": self.unsubscribing and self.unsubscribing.as_json(),
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Plan":
        """Return the plan that a row of `batches` was sealed with."""
        sealed = row["sealed"]
        unsubscribe = sealed.get("unsubscribe")
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
            # Batches that were sealed by an older release have neither.
            mode=sealed.get("mode", "byok"),
            unsubscribing=unsubscribe and Unsubscribing.of(unsubscribe),
        )

    @classmethod
    def seal(
        cls,
        batch: Mapping[str, Any],
        config: Mapping[str, Any],
        *,
        largest_chunk: int,
        unsubscribing: Unsubscribing | None = None,
    ) -> "Plan":
        """Return the plan for a batch that is about to be sent by `config`.

        `unsubscribing` is kept where the content has `listUnsubscribe`.
        """
        limit = Limit(config["rate_per_s"], config["rate_burst"])
        able = capabilities(config["provider"], config["settings"])
        content = content_of(batch, config)
        # Where providers take many messages at once, they take no files.
        max_batch = 1 if content.get("attachments") else able.max_batch
        return cls(
            batch_id=str(batch["id"]),
            tenant_id=str(batch["tenant_id"]),
            config_id=str(config["id"]),
            account=f"{config['id']}:{config['revision']}",
            channel=config["channel"],
            provider=config["provider"],
            settings=config["settings"],
            content=content,
            policy=config["policy"],
            limit=limit,
            grid=grid(limit, max_batch=max_batch, largest_chunk=largest_chunk),
            mode=config.get("mode", "byok"),
            unsubscribing=unsubscribing if content.get("listUnsubscribe") else None,
        )
