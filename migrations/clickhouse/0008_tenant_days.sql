-- A tenant's days: who had which event on which day (UTC), as sets of seqs, which a
-- repeat cannot enlarge. A chunk logged again on a later day stands on both days;
-- whoever reads counts each recipient on the first (see analytics/sql/rates.sql).
--
-- Order: a tenant reads a range of days, all events of them. Partitions are months,
-- because that is what is moved away or dropped as a whole. Rows are few and large.
CREATE TABLE IF NOT EXISTS tenant_days
(
    tenant_id UUID,
    day Date,
    event LowCardinality(String),
    batch_id UUID,
    seqs AggregateFunction(groupBitmap, UInt32)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (tenant_id, day, event, batch_id)
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 256;

-- Being queued is no news of a day's rates, and would be half of all rows.
CREATE MATERIALIZED VIEW IF NOT EXISTS tenant_days_mv TO tenant_days AS
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
    batch_id,
    groupBitmapMergeState(bitmapBuild(members_seqs)) AS seqs
FROM chunk_log
WHERE event != 'queued'
GROUP BY tenant_id, day, event, batch_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS reported_days_mv TO tenant_days AS
SELECT
    tenant_id,
    toDate(occurred_at, 'UTC') AS day,
    event,
    batch_id,
    groupBitmapState(seq) AS seqs
FROM reported_log
GROUP BY tenant_id, day, event, batch_id;

-- What was logged before. Repeated, it changes nothing.
INSERT INTO tenant_days
SELECT
    tenant_id,
    toDate(occurred_at, 'UTC') AS day,
    event,
    batch_id,
    groupBitmapState(seq) AS seqs
FROM email_events
WHERE event != 'queued'
GROUP BY tenant_id, day, event, batch_id;
