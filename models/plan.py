"""Everything a send depends on, fixed when the batch was sealed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from models.capabilities import Capabilities, capabilities
from models.chunk import Chunk
from models.content import Attachment
from models.levels import Sending
from models.limit import Counts, Grid, Limit, grid
from models.patience import PATIENCE, Patience
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
        patience: When a refusal for now becomes one for good.
        mode: Whose account the config uses.
        unsubscribing: How links to unsubscribe by are made; none where the content
            asks for none.
        fallback: The same by the config that is taken while this one's provider
            fails; none where the config names none. It has none itself.
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
    patience: Patience = PATIENCE
    mode: Mode = "byok"
    unsubscribing: Unsubscribing | None = None
    fallback: "Plan | None" = None

    @property
    def sending(self) -> Sending:
        """Return what decides under which limits it is sent."""
        return Sending(
            tenant_id=self.tenant_id,
            config_id=self.config_id,
            provider=self.provider,
            able=self.capabilities,
            managed=self.mode == "managed",
            limit=self.limit,
        )

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

    def owns(self, account: str) -> bool:
        """Tell whether a call's account is this config's, of whatever revision."""
        if self.mode == "managed":
            return account.startswith(f"managed:{self.provider}:")
        return account.startswith(f"{self.config_id}:")

    def calling(self, chunk: Chunk) -> "Plan":
        """Return by which plan a chunk's calls under way were made.

        They are all of one account: the next are declared when all have an answer.
        """
        other = self.fallback
        if other is None or not chunk.in_call:
            return self
        return other if other.owns(chunk.in_call[0].account) else self

    def sealed(self) -> dict[str, Any]:
        """Return the plan as the JSON of `batches.sealed`."""
        other = self.fallback
        return {
            **_of_config(self),
            "channel": self.channel,
            "content": dict(self.content),
            "policy": self.policy,
            "chunk": self.grid.chunk,
            "retryForS": self.patience.for_s,
            "retryTimes": self.patience.times,
            "unsubscribe": self.unsubscribing and self.unsubscribing.as_json(),
            "fallback": other and {**_of_config(other), "configId": other.config_id},
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Plan":
        """Return the plan that a row of `batches` was sealed with."""
        sealed = row["sealed"]
        unsubscribe = sealed.get("unsubscribe")
        plan = cls(
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
            # Batches that were sealed by an older release have none of these.
            patience=Patience(
                sealed.get("retryForS", PATIENCE.for_s), sealed.get("retryTimes")
            ),
            mode=sealed.get("mode", "byok"),
            unsubscribing=unsubscribe and Unsubscribing.of(unsubscribe),
        )
        other = sealed.get("fallback")
        return replace(plan, fallback=plan._by(other)) if other else plan

    def _by(self, other: Mapping[str, Any]) -> "Plan":
        """Return this plan by another config, as `_of_config` wrote it."""
        return replace(
            self,
            config_id=other["configId"],
            account=other["account"],
            provider=other["provider"],
            settings=other["settings"],
            limit=Limit(other["perSecond"], other["burst"]),
            grid=Grid(self.grid.chunk, other["call"]),
            mode=other["mode"],
        )

    @classmethod
    def seal(
        cls,
        batch: Mapping[str, Any],
        config: Mapping[str, Any],
        *,
        largest_chunk: int,
        unsubscribing: Unsubscribing | None = None,
        fallback: Mapping[str, Any] | None = None,
    ) -> "Plan":
        """Return the plan for a batch that is about to be sent by `config`.

        `unsubscribing` is kept where the content has `listUnsubscribe`. The fall-back
        sends the same content: what `config` has as defaults stands in it already.
        """
        content = content_of(batch, config)
        limit, cut = _cut(config, content, largest_chunk)
        plan = cls(
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
            patience=Patience(
                config.get("retry_for_s", PATIENCE.for_s), config.get("retry_times")
            ),
            grid=cut,
            mode=config.get("mode", "byok"),
            unsubscribing=unsubscribing if content.get("listUnsubscribe") else None,
        )
        return plan if fallback is None else plan._falling_back_on(fallback)

    def _falling_back_on(self, config: Mapping[str, Any]) -> "Plan":
        limit, cut = _cut(config, self.content, self.grid.chunk)
        other = {
            "configId": str(config["id"]),
            "account": f"{config['id']}:{config['revision']}",
            "provider": config["provider"],
            "settings": config["settings"],
            "perSecond": limit.per_s,
            "burst": limit.burst,
            "call": cut.call,
            "mode": config.get("mode", "byok"),
        }
        return replace(self, fallback=self._by(other))


def _of_config(plan: Plan) -> dict[str, Any]:
    """Return what a plan has of its config, and its fall-back of another one."""
    return {
        "account": plan.account,
        "provider": plan.provider,
        "settings": dict(plan.settings),
        "perSecond": plan.limit.per_s,
        "burst": plan.limit.burst,
        "call": plan.grid.call,
        "mode": plan.mode,
    }


def _cut(
    config: Mapping[str, Any], content: Mapping[str, Any], largest_chunk: int
) -> tuple[Limit, Grid]:
    """Return a config's limit, and how a batch is cut by it."""
    limit = Limit(config["rate_per_s"], config["rate_burst"])
    able = capabilities(config["provider"], config["settings"])
    # Where providers take many messages at once, they take no files.
    max_batch = 1 if content.get("attachments") else able.max_batch
    counted = _in_recipients(limit, able.counts, max_batch)
    return limit, grid(counted, max_batch=max_batch, largest_chunk=largest_chunk)


def _in_recipients(limit: Limit, counts: Counts, max_batch: int) -> Limit:
    """Return a limit of full calls as one of recipients."""
    if counts == "recipients":
        return limit
    return Limit(limit.per_s * max_batch, limit.burst * max_batch)
