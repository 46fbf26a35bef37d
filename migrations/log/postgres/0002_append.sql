-- A commit in one call, a transaction by itself: the server plans the statements of a function once for a session, where it would
-- plan those of each commit anew.
-- The plans are for a table that is large, also if they were made when there was nothing in it.
CREATE OR REPLACE FUNCTION grantlog_log.append(
    known_head bigint, known_settled bigint,                            -- what the node knows of the row of log_head
    seen_position bigint, seen_entry bytea,                             -- the entry it has seen last; none if below 0
    streams bytea[], expected bigint[],                                 -- how many entries each stream is to have
    row_streams bytea[], versions bigint[], row_entries bytea[], row_sealed bytea[] -- what is to follow the head
) RETURNS bigint                                                        -- that head; null if something is otherwise: nothing is written
LANGUAGE plpgsql
SET lock_timeout = '8s'
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    head bigint;
    settlements bigint;
BEGIN
    -- The statements after the one that waits for the row are to see what was committed until then.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN NULL;
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    SELECT h.next, h.settled INTO head, settlements FROM grantlog_log.log_head h WHERE h.one = 1 FOR UPDATE;
    IF head IS NULL OR head < known_head OR settlements <> known_settled
        OR head <> (SELECT coalesce(max(e.position) + 1, 0) FROM grantlog_log.entries e)
        OR seen_position >= 0 AND seen_entry IS DISTINCT FROM
            (SELECT e.entry FROM grantlog_log.entries e WHERE e.position = seen_position)
        OR EXISTS (SELECT FROM unnest(streams, expected) AS s (stream, expected)
            WHERE s.expected <> coalesce((SELECT e.version + 1 FROM grantlog_log.entries e
                WHERE e.stream = s.stream ORDER BY e.version DESC LIMIT 1), 0))
    THEN
        RETURN NULL;
    END IF;
    INSERT INTO grantlog_log.entries (position, stream, version, entry, sealed)
        SELECT head + r.n - 1, r.stream, r.version, r.entry, r.sealed
        FROM unnest(row_streams, versions, row_entries, row_sealed) WITH ORDINALITY AS r (stream, version, entry, sealed, n);
    UPDATE grantlog_log.log_head SET next = head + cardinality(row_streams) WHERE one = 1;
    RETURN head;
END
$$;
