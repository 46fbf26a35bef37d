-- Every secret column holds AES-256-GCM ciphertext; the row's identity is its associated data.

-- Data keys, wrapped by a master key. wrapped is null once the key has been destroyed: what was
-- sealed under it is gone, and the row remains to say so.
CREATE TABLE data_key (
    scope        BLOB PRIMARY KEY NOT NULL,
    wrapped      BLOB,
    wrapped_by   BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    destroyed_at INTEGER,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX data_key_by_wrapper ON data_key (wrapped_by) WHERE wrapped IS NOT NULL;

-- Upstream identity, seen only through a keyed hash, to subject.
CREATE TABLE subject (
    identity BLOB PRIMARY KEY NOT NULL,
    subject  BLOB NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

-- What the upstream provider gave for a grant, under the subject's data key.
CREATE TABLE upstream_token (
    grant_id   BLOB PRIMARY KEY NOT NULL,
    subject    BLOB NOT NULL,
    sealed     BLOB NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX upstream_token_by_subject ON upstream_token (subject);

-- Secrets of providers and proxies by version, under the system data key.
CREATE TABLE secret (
    owner      TEXT NOT NULL,
    version    BLOB NOT NULL,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (owner, version)
) STRICT, WITHOUT ROWID;

-- Keys that sign access tokens. The whole row is associated data of sealed, which holds the
-- private part, or nothing once that was erased.
CREATE TABLE signing_key (
    kid        TEXT PRIMARY KEY NOT NULL,
    alg        TEXT NOT NULL,
    public_jwk TEXT,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    retires_at INTEGER
) STRICT, WITHOUT ROWID;
