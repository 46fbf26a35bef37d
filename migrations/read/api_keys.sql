-- One row per API key that ever was. Hashes of keys stay in the log.
CREATE TABLE api_keys (
    api_key_id TEXT    PRIMARY KEY,
    name       TEXT    NOT NULL,
    proxy_id   INTEGER NOT NULL,
    scopes     TEXT    NOT NULL,
    issued_by  TEXT    NOT NULL,
    issued_at  INTEGER NOT NULL,                -- microseconds since 1970, UTC
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
