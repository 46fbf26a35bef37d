-- Where each stream's entries are. Written behind them and many at a time, which the index of a unique (stream, version) in
-- `entries` cannot be: that one costs a commit more than the entries themselves.
CREATE TABLE streams (
    stream    TEXT    NOT NULL,
    version   INTEGER NOT NULL,         -- of the first of these entries
    positions BLOB    NOT NULL,         -- of that one and those that follow it, eight bytes each, big end first
    PRIMARY KEY (stream, version)
) STRICT, WITHOUT ROWID;

-- Entries before this position are found through `streams`.
ALTER TABLE log_head ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
