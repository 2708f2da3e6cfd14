SELECT
    occurred_at,
    id,
    tenant_id,
    actor_kind,
    actor_id,
    action,
    object_kind,
    object_id,
    details
FROM audit_logs FINAL
WHERE
    (NOT {of_one:Bool} OR tenant_id = {tenant_id:UUID})
    -- Keyset: behind the last entry of the page before.
    AND (occurred_at, id) < (
        fromUnixTimestamp64Milli({before_ms:Int64}, 'UTC'), {before_id:UUID}
    )
ORDER BY occurred_at DESC, id DESC
LIMIT {most:UInt32}
