-- One row per proxy that ever was; removed ones remain, because their numbers are never given out again.
CREATE TABLE proxies (
    proxy_id    INTEGER PRIMARY KEY,
    version     INTEGER NOT NULL,               -- of the last event in its stream, from 0
    configured  TEXT,                           -- JSON; absent: removed
    added_at    INTEGER NOT NULL,               -- microseconds since 1970, UTC
    changed_at  INTEGER NOT NULL
) STRICT;
