SELECT
    seq,
    event,
    occurred_at,
    provider_message_id,
    error
FROM email_events FINAL
WHERE
    tenant_id = {tenant_id:UUID}
    AND batch_id = {batch_id:UUID}
    -- Named, they let the search jump: the event stands before seq in the order.
    AND event IN {events:Array(String)}
    AND seq IN {seqs:Array(UInt32)}
