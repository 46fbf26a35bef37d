-- The event log. Rows are written once: the triggers make an accident loud, the Merkle tree makes intent visible.
PRAGMA application_id = 0x47726c67; -- "Grlg"

CREATE TABLE entries (
    position INTEGER PRIMARY KEY,       -- dense, from 0
    stream   TEXT    NOT NULL,
    version  INTEGER NOT NULL,          -- dense within the stream, from 0
    entry    BLOB    NOT NULL,          -- canonical bytes of the event: the leaf
    sealed   BLOB,                      -- its personal part, encrypted
    UNIQUE (stream, version)
) STRICT;

-- One row. Whoever holds it may hand out the next positions.
CREATE TABLE log_head (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    next    INTEGER NOT NULL,           -- the position of the next entry, so also how many there are
    settled INTEGER NOT NULL            -- counts the writes that only prove that writing works
) STRICT;
INSERT INTO log_head VALUES (1, 0, 0);

CREATE TRIGGER entries_are_not_changed BEFORE UPDATE ON entries
BEGIN SELECT raise(ABORT, 'entries are immutable'); END;
CREATE TRIGGER entries_are_not_removed BEFORE DELETE ON entries
BEGIN SELECT raise(ABORT, 'entries are immutable'); END;
