-- The next seqs of those whose highest event is one of the wanted.
WITH
    groupBitmapMergeStateIf(seqs, event IN {wanted:Array(String)}) AS found,
    groupBitmapMergeStateIf(seqs, event IN {higher:Array(String)}) AS gone_on
SELECT bitmapToArray(
    bitmapSubsetLimit(bitmapAndnot(found, gone_on), {first:UInt32}, {limit:UInt32})
) AS page
FROM batch_stats
WHERE tenant_id = {tenant_id:UUID} AND batch_id = {batch_id:UUID}
