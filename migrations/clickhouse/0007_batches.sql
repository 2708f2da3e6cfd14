-- Batches as lists show them: one small row for each, so that a page of a tenant's
-- batches reads no event.
--
-- Order: a tenant, then the batch, because that is what rows are merged by. A tenant
-- with a million batches reads 40 MB for its list.
CREATE TABLE IF NOT EXISTS batches
(
    tenant_id UUID,
    batch_id UUID,
    -- Nothing else names a batch here. A repeat has the same name.
    name SimpleAggregateFunction(max, String) CODEC(ZSTD),
    first_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')) CODEC(Delta, ZSTD),
    last_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) CODEC(Delta, ZSTD),
    -- When the newest row came in: what a page is as of.
    logged_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) CODEC(Delta, ZSTD)
)
ENGINE = AggregatingMergeTree
ORDER BY (tenant_id, batch_id)
SETTINGS non_replicated_deduplication_window = 1000;

-- Chunks of single messages are logged without a name: they are no batch to a reader.
ALTER TABLE chunk_log ADD COLUMN IF NOT EXISTS name String;

CREATE MATERIALIZED VIEW IF NOT EXISTS batches_mv TO batches AS
SELECT
    tenant_id,
    batch_id,
    max(chunk_log.name) AS name,
    min(occurred_at) AS first_at,
    max(occurred_at) AS last_at,
    now64(3, 'UTC') AS logged_at
FROM chunk_log
GROUP BY tenant_id, batch_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS reported_batches_mv TO batches AS
SELECT
    tenant_id,
    batch_id,
    '' AS name,
    min(occurred_at) AS first_at,
    max(occurred_at) AS last_at,
    now64(3, 'UTC') AS logged_at
FROM reported_log
GROUP BY tenant_id, batch_id;

-- What was logged before. Repeated, it changes nothing.
INSERT INTO batches
SELECT
    tenant_id,
    batch_id,
    '' AS name,
    min(occurred_at) AS first_at,
    max(occurred_at) AS last_at,
    now64(3, 'UTC') AS logged_at
FROM email_events
GROUP BY tenant_id, batch_id;
