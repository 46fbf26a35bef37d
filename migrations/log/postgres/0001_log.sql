-- The event log. Rows are written once; the Merkle tree makes it visible if they are not.
-- Every statement may be repeated: some compatible engines commit each definition by itself.
CREATE TABLE IF NOT EXISTS grantlog_log.entries (
    position bigint PRIMARY KEY,        -- dense, from 0
    stream   bytea  NOT NULL,           -- UTF-8; bytes, because text has collations and no U+0000
    version  bigint NOT NULL,           -- dense within the stream, from 0
    entry    bytea  NOT NULL,           -- canonical bytes of the event: the leaf
    sealed   bytea,                     -- its personal part, encrypted
    UNIQUE (stream, version)            -- also tells how many entries a stream has, without a row to update for each append
);

-- One row. Whoever holds it may hand out the next positions.
CREATE TABLE IF NOT EXISTS grantlog_log.log_head (
    one     integer PRIMARY KEY CHECK (one = 1),
    next    bigint NOT NULL,            -- the position of the next entry, so also how many there are
    settled bigint NOT NULL             -- counts the writes that only prove that writing works, and after which nothing older is written
);
INSERT INTO grantlog_log.log_head VALUES (1, 0, 0) ON CONFLICT DO NOTHING;
