-- A recipient counts once, under the highest of its outcomes in the order of
-- models.status: unknown < cancelled < suppressed < failed < sent. What a provider
-- reports later happened to a message that was sent.
WITH
    groupBitmapMergeStateIf(seqs, event = 'queued') AS queued,
    groupBitmapMergeStateIf(seqs, event = 'unknown') AS unknown,
    groupBitmapMergeStateIf(seqs, event = 'cancelled') AS cancelled,
    groupBitmapMergeStateIf(seqs, event = 'suppressed') AS suppressed,
    groupBitmapMergeStateIf(seqs, event = 'failed') AS failed,
    groupBitmapMergeStateIf(
        seqs,
        event IN ('sent', 'delivered', 'opened', 'clicked', 'bounced', 'complained')
    ) AS sent,
    bitmapOr(failed, sent) AS from_failed,
    bitmapOr(suppressed, from_failed) AS from_suppressed,
    bitmapOr(cancelled, from_suppressed) AS from_cancelled
SELECT
    bitmapCardinality(queued) AS queued_count,
    bitmapCardinality(sent) AS sent_count,
    bitmapAndnotCardinality(failed, sent) AS failed_count,
    bitmapAndnotCardinality(unknown, from_cancelled) AS unknown_count,
    bitmapAndnotCardinality(suppressed, from_failed) AS suppressed_count,
    bitmapAndnotCardinality(cancelled, from_suppressed) AS cancelled_count
FROM batch_stats
WHERE batch_id = {batch_id:UUID}
