-- From a provider's message id to its recipient, for the reports that name no other.
--
-- Ids are random, so they are sorted by a number made of them: numbers sort and
-- merge cheaper than texts of 36 letters. The id itself is stored, so that two ids
-- of one number are told apart. A chunk logged again leaves equal rows; a look-up
-- takes any of them, so nothing is paid for replacing them.
CREATE TABLE IF NOT EXISTS email_message_index
(
    provider_message_id String,
    tenant_id UUID,
    batch_id UUID,
    seq UInt32
)
ENGINE = MergeTree
ORDER BY cityHash64(provider_message_id)
SETTINGS non_replicated_deduplication_window = 1000;

CREATE MATERIALIZED VIEW IF NOT EXISTS email_message_index_mv TO email_message_index AS
WITH
    arrayFilter(
        (seq, member) -> member = '1',
        range(first, toUInt32(first + size)),
        arrayResize(splitByString('', members), size, if(members = '', '1', '0'))
    ) AS seqs
SELECT
    provider_message_id,
    tenant_id,
    batch_id,
    seq
FROM chunk_log
ARRAY JOIN
    seqs AS seq,
    arrayResize(splitByChar('\x1f', provider_message_ids), length(seqs))
        AS provider_message_id
WHERE provider_message_ids != '' AND provider_message_id != '';
