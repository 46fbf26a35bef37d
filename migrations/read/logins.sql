-- One row per authorization attempt that reached a person or failed.
CREATE TABLE logins (
    position     INTEGER PRIMARY KEY,   -- of the event that ended the attempt
    started_at   INTEGER NOT NULL,      -- microseconds since 1970, UTC, here and below
    finished_at  INTEGER NOT NULL,
    outcome      TEXT    NOT NULL,      -- success, failure, denied
    reason       TEXT,                  -- why not
    subject      TEXT,
    email        TEXT,
    name         TEXT,
    client_id    TEXT,
    client_name  TEXT,                  -- as it was then
    proxy_id     INTEGER,
    provider_id  INTEGER,
    ip           TEXT,
    ip_key       BLOB,                  -- 16 bytes, IPv4 as ::ffff:0:0/96, so that a CIDR block is a range
    user_agent   TEXT,
    redirect_uri TEXT,
    scope        TEXT,
    grant_id     TEXT,
    attempts     INTEGER NOT NULL       -- refused ones are counted together where they come often
) STRICT;
CREATE INDEX logins_by_outcome ON logins (outcome);
CREATE INDEX logins_by_reason ON logins (reason) WHERE reason IS NOT NULL;
CREATE INDEX logins_by_subject ON logins (subject) WHERE subject IS NOT NULL;
CREATE INDEX logins_by_email ON logins (email COLLATE NOCASE) WHERE email IS NOT NULL;
CREATE INDEX logins_by_client ON logins (client_id);
CREATE INDEX logins_by_proxy ON logins (proxy_id);
CREATE INDEX logins_by_provider ON logins (provider_id);
CREATE INDEX logins_by_ip ON logins (ip_key) WHERE ip_key IS NOT NULL;
