SELECT
    event,
    occurred_at,
    provider_message_id,
    error
FROM email_events FINAL
WHERE tenant_id = {tenant_id:UUID} AND batch_id = {batch_id:UUID} AND seq = {seq:UInt32}
-- What happened in one millisecond began with the queue.
ORDER BY occurred_at, event != 'queued', event
