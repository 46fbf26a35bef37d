-- How often that which nodes keep in memory has changed: they compare, and read what is new.
CREATE TABLE cache_version (
    name    TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO cache_version (name, version) VALUES ('erasures', 0), ('signing keys', 0);

-- Which of the erasures destroyed the key.
ALTER TABLE data_key ADD COLUMN destroyed_in INTEGER;

-- Until when somebody is renewing the tokens at the provider.
ALTER TABLE upstream_token ADD COLUMN claimed_until INTEGER;

CREATE INDEX data_key_by_erasure ON data_key (destroyed_in) WHERE destroyed_in IS NOT NULL;
