-- Who had an event at all, and who stands there now: those without a higher one, in
-- the order that is given.
WITH
    {ranked:Array(String)} AS ranked,
    by_event AS
    (
        SELECT
            event,
            indexOf(ranked, event) AS place,
            groupBitmapMergeState(seqs) AS found
        FROM batch_stats
        WHERE
            tenant_id = {tenant_id:UUID}
            AND batch_id = {batch_id:UUID}
            AND event IN {ranked:Array(String)}
        GROUP BY event
    ),
    sums AS
    (
        SELECT
            event,
            place,
            groupBitmapMerge(found) OVER (PARTITION BY event) AS had,
            groupBitmapMerge(found) OVER (
                ORDER BY place DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS from_here
        FROM by_event
    )
SELECT
    event,
    had,
    from_here - lagInFrame(from_here, 1, 0) OVER (
        ORDER BY place DESC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
    ) AS stand
FROM sums
