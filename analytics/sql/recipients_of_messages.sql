SELECT
    provider_message_id,
    any(tenant_id) AS tenant,
    any(batch_id) AS batch,
    any(seq) AS recipient
FROM email_message_index
-- The table is ordered by this number of the id.
WHERE
    cityHash64(provider_message_id)
        IN (SELECT cityHash64(arrayJoin({ids:Array(String)})))
    AND provider_message_id IN {ids:Array(String)}
GROUP BY provider_message_id
