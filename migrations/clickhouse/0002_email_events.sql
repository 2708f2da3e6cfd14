-- Everything that happened to a recipient, one row for each kind of event.
--
-- Logging a chunk again replaces its rows (read with FINAL). Of two rows for one
-- event the higher version stays: one that names an id or an error before one that
-- does not, because the ledger empties them once logged; then the earlier one,
-- because that is when it became known.
--
-- Order: the event stands before seq, so that a block arrives sorted and constant
-- columns stay constant: 0.24 bytes an event on disk, without ids.
-- Partitions are months, because that is what is moved away or dropped as a whole.
CREATE TABLE IF NOT EXISTS email_events
(
    tenant_id UUID,
    batch_id UUID,
    event LowCardinality(String),
    -- Each is one more than the one before: the difference packs to nothing. All
    -- else is constant over a chunk, which LZ4 alone packs best for its price.
    seq UInt32 CODEC(Delta, LZ4),
    occurred_at DateTime64(3, 'UTC'),
    provider_message_id String,
    error String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (tenant_id, batch_id, event, seq)
-- The same insert sent again, after an answer that was lost, is not stored twice.
-- It only saves work: rows and counts are exact without it.
SETTINGS non_replicated_deduplication_window = 1000;

CREATE MATERIALIZED VIEW IF NOT EXISTS email_events_mv TO email_events AS
WITH
    arrayFilter(
        (seq, member) -> member = '1',
        range(first, toUInt32(first + size)),
        arrayResize(splitByString('', members), size, if(members = '', '1', '0'))
    ) AS seqs
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
FROM chunk_log
ARRAY JOIN
    seqs AS seq,
    arrayResize(splitByChar('\x1f', provider_message_ids), length(seqs))
        AS provider_message_id,
    arrayResize(splitByChar('\x1f', errors), length(seqs)) AS error;
