-- The intake. Whoever logs writes here and nowhere else; nothing is stored: views
-- unfold each row into the tables behind it.
--
-- One row is those of a chunk to whom the same happened, so a chunk in which everybody
-- was sent is two rows: queued and sent. On two cores this costs 1 to 2 µs a recipient
-- for both events, unfolding, storing, merging and counting included; a row for each
-- event costs 4 µs an event.
CREATE TABLE IF NOT EXISTS chunk_log
(
    tenant_id UUID,
    batch_id UUID,
    event LowCardinality(String),
    -- The chunk is the seqs [first, first + size).
    first UInt32,
    size UInt32,
    -- Who of them, a 0 or 1 for each, as the ledger writes it; empty for everybody,
    -- which is the usual case.
    members String,
    occurred_at DateTime64(3, 'UTC'),
    -- Of the members, in order of seq, separated by the ASCII unit separator; empty
    -- for none. One text costs the writer half of what an array of texts does.
    provider_message_ids String,
    errors String
)
ENGINE = Null;
