-- Every secret column holds AES-256-GCM ciphertext; the row's identity is its associated data.
-- Instants are microseconds since 1970. Every statement may be repeated: some compatible engines
-- commit each definition by itself.

-- Data keys, wrapped by a master key. wrapped is null once the key has been destroyed: what was
-- sealed under it is gone, and the row remains to say so, and in which of the erasures.
CREATE TABLE IF NOT EXISTS grantlog_vault.data_key (
    scope        bytea PRIMARY KEY,
    wrapped      bytea,
    wrapped_by   bytea NOT NULL,
    created_at   bigint NOT NULL,
    destroyed_at bigint,
    destroyed_in bigint,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);

CREATE INDEX IF NOT EXISTS data_key_by_wrapper
    ON grantlog_vault.data_key (wrapped_by) WHERE wrapped IS NOT NULL;
CREATE INDEX IF NOT EXISTS data_key_by_erasure
    ON grantlog_vault.data_key (destroyed_in) WHERE destroyed_in IS NOT NULL;

-- Upstream identity, seen only through a keyed hash, to subject.
CREATE TABLE IF NOT EXISTS grantlog_vault.subject (
    identity bytea PRIMARY KEY,
    subject  bytea NOT NULL UNIQUE
);

-- What the upstream provider gave for a grant, under the subject's data key. The reference decides
-- between a login and an erasure at once: nothing is kept for a subject that is being erased.
CREATE TABLE IF NOT EXISTS grantlog_vault.upstream_token (
    grant_id   bytea PRIMARY KEY,
    subject    bytea NOT NULL REFERENCES grantlog_vault.subject (subject) ON DELETE CASCADE,
    sealed     bytea NOT NULL,
    updated_at bigint NOT NULL,
    -- Until when a node is renewing the tokens at the provider.
    claimed_until bigint
);

CREATE INDEX IF NOT EXISTS upstream_token_by_subject ON grantlog_vault.upstream_token (subject);

-- Secrets of providers and proxies by version, under the system data key.
CREATE TABLE IF NOT EXISTS grantlog_vault.secret (
    owner      text NOT NULL,
    version    bytea NOT NULL,
    sealed     bytea NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (owner, version)
);

-- Keys that sign access tokens. The whole row is associated data of sealed, which holds the
-- private part, or nothing once that was erased.
CREATE TABLE IF NOT EXISTS grantlog_vault.signing_key (
    kid        text COLLATE "C" PRIMARY KEY,
    alg        text NOT NULL,
    public_jwk text,
    sealed     bytea NOT NULL,
    created_at bigint NOT NULL,
    not_before bigint NOT NULL,
    retires_at bigint
);

-- How often that which nodes keep in memory has changed: they compare, and read what is new.
-- Whoever changes it locks its row until the end of the transaction, so versions become visible
-- in order.
CREATE TABLE IF NOT EXISTS grantlog_vault.cache_version (
    name    text PRIMARY KEY,
    version bigint NOT NULL
);

INSERT INTO grantlog_vault.cache_version (name, version) VALUES ('erasures', 0), ('signing keys', 0)
ON CONFLICT DO NOTHING;
