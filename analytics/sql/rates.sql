-- Each recipient counts on the first day that has the event: what a day adds to the
-- set of all days before it, of the batches that had one of these days.
WITH
    days AS
    (
        SELECT event, batch_id, day, groupBitmapMergeState(seqs) AS found
        FROM tenant_days
        WHERE
            tenant_id = {tenant_id:UUID}
            AND day <= {last:Date}
            AND (
                day >= {first:Date}
                OR batch_id IN (
                    SELECT batch_id
                    FROM tenant_days
                    WHERE
                        tenant_id = {tenant_id:UUID}
                        AND day BETWEEN {first:Date} AND {last:Date}
                )
            )
        GROUP BY event, batch_id, day
    ),
    sums AS
    (
        SELECT
            event,
            batch_id,
            day,
            groupBitmapMerge(found) OVER (
                PARTITION BY event, batch_id ORDER BY day
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS so_far
        FROM days
    ),
    steps AS
    (
        SELECT
            event,
            day,
            so_far - lagInFrame(so_far, 1, 0) OVER (
                PARTITION BY event, batch_id ORDER BY day
                ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
            ) AS added
        FROM sums
    )
SELECT day, event, sum(added) AS recipients
FROM steps
WHERE day >= {first:Date}
GROUP BY day, event
ORDER BY day, event
