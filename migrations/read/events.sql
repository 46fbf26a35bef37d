-- What the log's entries can be found by. Their bodies stay in the log.
CREATE TABLE events (
    position    INTEGER PRIMARY KEY,
    recorded_at INTEGER NOT NULL,       -- microseconds since 1970, UTC
    type        TEXT    NOT NULL,
    stream      TEXT    NOT NULL,
    proxy_id    INTEGER,
    client_id   BLOB,                   -- the 16 bytes of the UUID, here and below
    subject     BLOB,
    request_id  BLOB,
    source      INTEGER REFERENCES sources (id)
) STRICT;

-- Where requests came from and what sent them, each pair once.
CREATE TABLE sources (
    id         INTEGER PRIMARY KEY,
    address    TEXT,
    ip         BLOB,                    -- 16 bytes, IPv4 as ::ffff:0:0/96, so that a CIDR block is a range
    user_agent TEXT
) STRICT;
CREATE INDEX sources_by_ip ON sources (ip, user_agent);

-- The log in segments of 32768 positions. The last one is open: it has no postings yet and is short enough to walk.
CREATE TABLE segments (
    segment  INTEGER PRIMARY KEY,       -- position / 32768
    first_at INTEGER NOT NULL,          -- the earliest and the latest recorded_at in it
    last_at  INTEGER NOT NULL
) STRICT;

-- For each closed segment, dimension and value: which positions have it. Written at the end of the table only, which
-- is what lets a log be replayed several times faster than into seven ordinary indexes. Many values share a row: for each,
-- in order, its length and the number of its offsets, then it and them.
CREATE TABLE postings (
    segment   INTEGER NOT NULL,
    dimension INTEGER NOT NULL,         -- 1 type, 2 stream (not a grant's), 3 proxy_id, 4 grant, 5 client_id, 6 subject, 7 ip, 8 request_id
    first     BLOB    NOT NULL,         -- the row's first value
    postings  BLOB    NOT NULL,         -- lengths, numbers and offsets (position % 32768, ascending) of two bytes each, little end first
    PRIMARY KEY (segment, dimension, first)
) STRICT, WITHOUT ROWID;

-- For people with an SQL shell.
CREATE VIEW events_readable AS
SELECT e.position,
       strftime('%Y-%m-%dT%H:%M:%S', e.recorded_at / 1000000, 'unixepoch')
           || printf('.%06dZ', e.recorded_at % 1000000) AS recorded_at,
       e.type,
       e.stream,
       e.proxy_id,
       'gateway_' || lower(hex(e.client_id)) AS client_id,
       'sub_' || lower(hex(e.subject)) AS subject,
       lower(hex(e.request_id)) AS request_id,
       s.address AS ip,
       s.user_agent
FROM events e LEFT JOIN sources s ON s.id = e.source;
