"""Old rows on a slower, cheaper volume, where the server has one (ADR 0044)."""

from analytics.client import Client

#: The tables that grow for ever, and the column whose age counts.
_GROWING = {
    "email_events": "toDateTime(occurred_at)",
    "audit_logs": "toDateTime(occurred_at)",
    "tenant_days": "day",
    "failure_reasons": "day",
}


def move_when_old(client: Client, policy: str, *, after_days: int) -> None:
    """Have the server move rows of this age to the volume `cold` of a policy.

    Again with other days changes the days. Nothing is deleted, and reports read both
    volumes. Raises `BatchSenderError` where the server has no such policy, or one
    that lacks the disks on which the tables are.

    Args:
        client: Its user may change tables.
        policy: In the server's configuration; holds the volume `default` as before,
            and one named `cold`, such as on S3.
        after_days: The age at which a row moves.
    """
    for table, moment in _GROWING.items():
        # Both are our operator's: a name in the server's configuration, a number.
        quoted = policy.replace("\\", "\\\\").replace("'", "\\'")
        client.command(
            f"ALTER TABLE {table} MODIFY SETTING storage_policy = '{quoted}'"
        )
        client.command(
            f"ALTER TABLE {table} MODIFY TTL"
            f" {moment} + toIntervalDay({int(after_days)}) TO VOLUME 'cold'"
        )
