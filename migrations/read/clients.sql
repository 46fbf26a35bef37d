-- One row per client that ever registered.
CREATE TABLE clients (
    position            INTEGER PRIMARY KEY,    -- of its registration
    client_id           TEXT    NOT NULL UNIQUE,
    proxy_id            INTEGER NOT NULL,
    client_name         TEXT,
    metadata            TEXT    NOT NULL,       -- JSON, as it registered itself
    registered_at       INTEGER NOT NULL,       -- microseconds since 1970, UTC, here and below
    updated_at          INTEGER,
    first_authorized_at INTEGER,
    last_authorized_at  INTEGER,
    grants              INTEGER NOT NULL,       -- how often people authorized it
    ended_at            INTEGER,
    status              TEXT    NOT NULL        -- registered, removed, expired
) STRICT;
CREATE INDEX clients_by_proxy ON clients (proxy_id);
CREATE INDEX clients_by_status ON clients (status);
CREATE INDEX clients_removed ON clients (ended_at) WHERE status = 'removed';
CREATE INDEX clients_by_name ON clients (client_name COLLATE NOCASE) WHERE client_name IS NOT NULL;
CREATE INDEX clients_unused ON clients (registered_at) WHERE first_authorized_at IS NULL AND ended_at IS NULL;
