SELECT event, error, sum(recipients) AS times
FROM
(
    -- A day's set and the next day's are one, so that a repeat counts once.
    SELECT event, error, batch_id, groupBitmapMerge(seqs) AS recipients
    FROM failure_reasons
    WHERE
        tenant_id = {tenant_id:UUID}
        AND day BETWEEN {first:Date} AND {last:Date}
    GROUP BY event, error, batch_id
)
GROUP BY event, error
ORDER BY times DESC, event, error
LIMIT {limit:UInt32}
