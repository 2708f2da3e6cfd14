-- Why messages were not taken or came back, by day (UTC), as sets of seqs.
--
-- Reasons are few, since addresses are left out of them, so they are numbered. Order
-- and partitions as those of tenant_days.
CREATE TABLE IF NOT EXISTS failure_reasons
(
    tenant_id UUID,
    day Date,
    event LowCardinality(String),
    error LowCardinality(String),
    batch_id UUID,
    seqs AggregateFunction(groupBitmap, UInt32)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (tenant_id, day, event, error, batch_id)
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 256;

-- A row without errors, which nearly all are, costs a look at an empty text.
CREATE MATERIALIZED VIEW IF NOT EXISTS failure_reasons_mv TO failure_reasons AS
WITH
    arrayFilter(
        (seq, member) -> member = '1',
        range(first, toUInt32(first + size)),
        arrayResize(splitByString('', members), size, if(members = '', '1', '0'))
    ) AS members_seqs
SELECT
    tenant_id,
    toDate(occurred_at, 'UTC') AS day,
    event,
    error,
    batch_id,
    groupBitmapState(seq) AS seqs
FROM chunk_log
ARRAY JOIN
    members_seqs AS seq,
    arrayResize(splitByChar('\x1f', errors), length(members_seqs)) AS error
WHERE errors != '' AND error != ''
GROUP BY tenant_id, day, event, error, batch_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS reported_reasons_mv TO failure_reasons AS
SELECT
    tenant_id,
    toDate(occurred_at, 'UTC') AS day,
    event,
    error,
    batch_id,
    groupBitmapState(seq) AS seqs
FROM reported_log
WHERE error != ''
GROUP BY tenant_id, day, event, error, batch_id;

-- What was logged before. Repeated, it changes nothing.
INSERT INTO failure_reasons
SELECT
    tenant_id,
    toDate(occurred_at, 'UTC') AS day,
    event,
    error,
    batch_id,
    groupBitmapState(seq) AS seqs
FROM email_events
WHERE error != ''
GROUP BY tenant_id, day, event, error, batch_id;
