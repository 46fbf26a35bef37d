-- One row: how far the log has been folded into this file. It changes in the transaction that changes the rows, so
-- whatever a crash leaves behind is a true state of some position.
CREATE TABLE read_model (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    next INTEGER NOT NULL               -- the position of the next entry to fold
) STRICT;
INSERT INTO read_model VALUES (1, 0);

-- A file that was made of a part of the log shows one instant of the past, by which what is live is told. None: it follows
-- the log.
CREATE TABLE as_of (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    at  INTEGER NOT NULL                -- microseconds since 1970
) STRICT;
