SELECT
    batch_id,
    max(batches.name) AS named,
    min(first_at) AS began_at,
    max(last_at) AS ended_at,
    max(logged_at) AS as_of
FROM batches
WHERE
    tenant_id = {tenant_id:UUID}
    -- Single messages have no name, and are listed elsewhere: they may be millions.
    AND batch_id IN (
        SELECT batch_id
        FROM batches
        WHERE tenant_id = {tenant_id:UUID} AND batches.name != ''
    )
GROUP BY batch_id
HAVING
    (began_at, batch_id)
        < (fromUnixTimestamp64Milli({before_ms:Int64}, 'UTC'), {before_id:UUID})
ORDER BY began_at DESC, batch_id DESC
LIMIT {limit:UInt32}
