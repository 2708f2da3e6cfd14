-- Who is in which event, as sets of seqs: a set that hears of somebody twice still
-- counts them once, so the counts are exact however often a chunk is logged. A sum
-- would count copies.
--
-- A million recipients are a set of 125 kB. A row for each event of a batch is few
-- rows, but large ones: the fine granularity keeps a look-up from reading strangers.
CREATE TABLE IF NOT EXISTS batch_stats
(
    tenant_id UUID,
    batch_id UUID,
    event LowCardinality(String),
    seqs AggregateFunction(groupBitmap, UInt32)
)
ENGINE = AggregatingMergeTree
ORDER BY (tenant_id, batch_id, event)
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 64;

-- Whole chunks go into the set at once, from the intake: reading the unfolded events
-- instead would look at each of them once more.
CREATE MATERIALIZED VIEW IF NOT EXISTS batch_stats_mv TO batch_stats AS
WITH
    arrayFilter(
        (seq, member) -> member = '1',
        range(first, toUInt32(first + size)),
        arrayResize(splitByString('', members), size, if(members = '', '1', '0'))
    ) AS members_seqs
SELECT
    tenant_id,
    batch_id,
    event,
    groupBitmapMergeState(bitmapBuild(members_seqs)) AS seqs
FROM chunk_log
GROUP BY tenant_id, batch_id, event;
