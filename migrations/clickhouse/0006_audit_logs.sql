-- Who did what to batches, configs and limits.
--
-- Order: a tenant reads its own, newest first, so the time stands second; the id ends
-- the key, so that an entry written again replaces itself (read with FINAL). The zero
-- tenant is the system.
-- Partitions are months, because that is what is moved away or dropped as a whole.
CREATE TABLE IF NOT EXISTS audit_logs
(
    tenant_id UUID,
    -- Entries of a tenant follow each other in time: differences pack well.
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    -- Random, so packing it would only cost time.
    id UUID CODEC(NONE),
    actor_kind LowCardinality(String),
    actor_id String CODEC(ZSTD),
    action LowCardinality(String),
    object_kind LowCardinality(String),
    object_id String CODEC(ZSTD),
    -- JSON, or empty. Few and alike: worth the stronger packing.
    details String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (tenant_id, occurred_at, id)
SETTINGS non_replicated_deduplication_window = 1000;
