-- The intake for what providers report: one row for each event, nothing stored. What
-- is reported comes one by one, so unfolding chunks of one would cost more.
CREATE TABLE IF NOT EXISTS reported_log
(
    tenant_id UUID,
    batch_id UUID,
    event LowCardinality(String),
    seq UInt32,
    occurred_at DateTime64(3, 'UTC'),
    provider_message_id String,
    error String
)
ENGINE = Null;

-- The same version as in 0002: who names an id or an error stays, then the earlier.
CREATE MATERIALIZED VIEW IF NOT EXISTS reported_events_mv TO email_events AS
SELECT
    tenant_id,
    batch_id,
    event,
    seq,
    occurred_at,
    provider_message_id,
    error,
    bitShiftLeft(toUInt64(provider_message_id != '' OR error != ''), 62)
        + (bitShiftLeft(toUInt64(1), 62) - 1 - toUnixTimestamp64Milli(occurred_at))
        AS version
FROM reported_log;

CREATE MATERIALIZED VIEW IF NOT EXISTS reported_stats_mv TO batch_stats AS
SELECT
    tenant_id,
    batch_id,
    event,
    groupBitmapState(seq) AS seqs
FROM reported_log
GROUP BY tenant_id, batch_id, event;

-- Only a sending is looked up by its id, and the ledger's are logged already: here
-- are those that only a report proved.
CREATE MATERIALIZED VIEW IF NOT EXISTS reported_index_mv TO email_message_index AS
SELECT
    provider_message_id,
    tenant_id,
    batch_id,
    seq
FROM reported_log
WHERE event = 'sent' AND provider_message_id != '';
