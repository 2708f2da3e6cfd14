SELECT
    event,
    toStartOfSecond(occurred_at) AS second,
    count() AS events
FROM email_events FINAL
-- The table is ordered by tenant first, and the small one knows whose the batch is.
WHERE
    tenant_id IN (SELECT tenant_id FROM batch_stats WHERE batch_id = {batch_id:UUID})
    AND batch_id = {batch_id:UUID}
GROUP BY event, second
ORDER BY second, event
