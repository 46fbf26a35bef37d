-- Keyed tags by which a change to the log's entries is found. A row has those of up to 256 entries and only grows.
CREATE TABLE IF NOT EXISTS grantlog_vault.seals (
    first bigint PRIMARY KEY,           -- the position of its first entry, a multiple of 256
    tags  bytea NOT NULL                -- 16 bytes an entry
);
