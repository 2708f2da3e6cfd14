ALTER TABLE email_events UPDATE provider_message_id = '', error = ''
WHERE
    tenant_id IN {tenants:Array(UUID)}
    AND (batch_id, seq) IN arrayZip({batches:Array(UUID)}, {seqs:Array(UInt32)})
-- It answers when it is done.
SETTINGS mutations_sync = 2
