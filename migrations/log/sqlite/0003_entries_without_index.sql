-- Only programs that do not know `streams` find a stream by the unique (stream, version), and it makes each commit several
-- times as large. SQLite takes it away by writing the rows anew, as they are.
DROP TRIGGER entries_are_not_changed;
DROP TRIGGER entries_are_not_removed;
ALTER TABLE entries RENAME TO entries_with_index;

CREATE TABLE entries (
    position INTEGER PRIMARY KEY,       -- dense, from 0
    stream   TEXT    NOT NULL,
    version  INTEGER NOT NULL,          -- dense within the stream, from 0
    entry    BLOB    NOT NULL,          -- canonical bytes of the event: the leaf
    sealed   BLOB                       -- its personal part, encrypted
) STRICT;
INSERT INTO entries SELECT position, stream, version, entry, sealed FROM entries_with_index ORDER BY position;
DROP TABLE entries_with_index;

CREATE TRIGGER entries_are_not_changed BEFORE UPDATE ON entries
BEGIN SELECT raise(ABORT, 'entries are immutable'); END;
CREATE TRIGGER entries_are_not_removed BEFORE DELETE ON entries
BEGIN SELECT raise(ABORT, 'entries are immutable'); END;
