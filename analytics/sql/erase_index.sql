ALTER TABLE email_message_index DELETE
WHERE
    tenant_id IN {tenants:Array(UUID)}
    AND (batch_id, seq) IN arrayZip({batches:Array(UUID)}, {seqs:Array(UInt32)})
SETTINGS mutations_sync = 2
