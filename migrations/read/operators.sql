-- One row per operator that ever was. Hashes of tokens stay in the log.
CREATE TABLE operators (
    operator_id TEXT    PRIMARY KEY,
    name        TEXT    NOT NULL,
    role        TEXT    NOT NULL,               -- admin, auditor, responder
    added_at    INTEGER NOT NULL,               -- microseconds since 1970, UTC
    removed_at  INTEGER
) STRICT, WITHOUT ROWID;
