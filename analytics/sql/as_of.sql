SELECT max(logged_at) AS newest
FROM batches
WHERE
    tenant_id = {tenant_id:UUID}
    AND (
        {batch_id:UUID} = toUUID('00000000-0000-0000-0000-000000000000')
        OR batch_id = {batch_id:UUID}
    )
HAVING count() > 0
