-- The intake. Whoever logs writes here and nowhere else; nothing is stored: views
-- unfold each row into the tables behind it.
--
-- One row is a run of neighbours in a chunk to whom the same happened at the same
-- time, so a chunk in which everybody was sent is two rows: queued and sent. On two
-- cores this costs 1.4 µs a recipient for both events, unfolding, storing, merging
-- and counting included; a row for each event costs 4 µs an event.
CREATE TABLE IF NOT EXISTS chunk_log
(
    tenant_id UUID,
    batch_id UUID,
    event LowCardinality(String),
    -- The seqs [first, first + size).
    first UInt32,
    size UInt32,
    occurred_at DateTime64(3, 'UTC'),
    -- In order of seq, separated by the ASCII unit separator; empty for none. One
    -- text is built and sent at a fifth of the cost of an array of texts.
    provider_message_ids String,
    errors String
)
ENGINE = Null;
