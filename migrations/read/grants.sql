-- One row per grant, live or past. The indexed columns never change, so that a refresh touches no index.
CREATE TABLE grants (
    first_position          INTEGER PRIMARY KEY,
    last_position           INTEGER NOT NULL,
    grant_id                TEXT    NOT NULL UNIQUE,
    subject                 TEXT    NOT NULL,
    client_id               TEXT    NOT NULL,
    proxy_id                INTEGER NOT NULL,
    provider_id             INTEGER NOT NULL,
    scope                   TEXT    NOT NULL,
    resource                TEXT    NOT NULL,
    redirect_uri            TEXT    NOT NULL,
    consent                 TEXT    NOT NULL,   -- given, not_required
    email                   TEXT,
    ip                      TEXT,               -- of the login
    ip_key                  BLOB,
    created_at              INTEGER NOT NULL,   -- microseconds since 1970, UTC, here and below
    expires_at              INTEGER NOT NULL,
    code_expires_at         INTEGER,
    redeemed_at             INTEGER,
    generation              INTEGER NOT NULL,   -- of the newest refresh token; 0: none
    refreshes               INTEGER NOT NULL,
    access_tokens           INTEGER NOT NULL,   -- issued so far
    access_tokens_expire_at INTEGER,            -- the end of the last of them
    refresh_expires_at      INTEGER,            -- when the newest refresh token dies unused
    last_refreshed_at       INTEGER,
    last_used_at            INTEGER,
    revoked_at              INTEGER,
    reason                  TEXT,
    note                    TEXT,
    live_until              INTEGER NOT NULL
) STRICT;
CREATE INDEX grants_by_subject ON grants (subject);
CREATE INDEX grants_by_client ON grants (client_id);
CREATE INDEX grants_by_proxy ON grants (proxy_id);
CREATE INDEX grants_by_provider ON grants (provider_id);
CREATE INDEX grants_by_email ON grants (email COLLATE NOCASE) WHERE email IS NOT NULL;
CREATE INDEX grants_by_ip ON grants (ip_key) WHERE ip_key IS NOT NULL;
CREATE INDEX grants_by_reason ON grants (reason) WHERE reason IS NOT NULL;
CREATE INDEX grants_revoked ON grants (access_tokens_expire_at) WHERE revoked_at IS NOT NULL;
