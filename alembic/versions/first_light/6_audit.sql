-- The audit log: every entry's hash covers the entry before it, so that an edit breaks the chain.

INSERT INTO auth.audit_head (id, seq, hash) VALUES (1, 0, repeat('0', 64));

-- Canonical JSON is jsonb's own text: keys in one order, no spare spaces; the time in UTC to the microsecond.
CREATE FUNCTION auth.audit_hash(entry auth.audit_log) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT encode(sha256(convert_to(entry.prev_hash || jsonb_build_object(
        'seq', entry.seq,
        'at', to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'actor', entry.actor,
        'action', entry.action,
        'object', entry.object,
        'details', entry.details,
        'ip', entry.ip,
        'request_id', entry.request_id
    )::text, 'UTF8')), 'hex')
$$;

-- The only way in. It locks the head until the caller's transaction ends, so that two entries at once follow
-- one another; a transaction should append last.
CREATE FUNCTION auth.append_audit(
    at timestamptz, actor text, action text, object text, details jsonb, ip text, request_id text
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head auth.audit_head;
    entry auth.audit_log;
BEGIN
    SELECT * INTO STRICT head FROM auth.audit_head WHERE id = 1 FOR UPDATE;
    entry := (head.seq + 1, at, actor, action, object, coalesce(details, '{}'), ip, request_id, head.hash, '');
    entry.hash := auth.audit_hash(entry);
    UPDATE auth.audit_head SET seq = entry.seq, hash = entry.hash WHERE id = 1;
    INSERT INTO auth.audit_log SELECT entry.*;
    RETURN entry.seq;
END $$;

-- Also the owner's hand cannot add an entry that the head does not know.
CREATE FUNCTION auth.guard_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM auth.audit_head AS head WHERE head.seq = NEW.seq AND head.hash = NEW.hash) THEN
        RAISE EXCEPTION 'audit entry % is refused: entries are added by auth.append_audit only', NEW.seq
            USING ERRCODE = 'PB007';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER chained BEFORE INSERT ON auth.audit_log FOR EACH ROW EXECUTE FUNCTION auth.guard_audit();

-- The number of the first entry that is missing, moved or not as it was written; NULL when the chain is whole.
CREATE FUNCTION auth.verify_audit() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH chain AS (
        SELECT entry.seq, entry.hash, entry.prev_hash, auth.audit_hash(entry) AS computed,
               row_number() OVER by_seq AS place, lag(entry.hash, 1, repeat('0', 64)) OVER by_seq AS before
        FROM auth.audit_log AS entry
        WINDOW by_seq AS (ORDER BY entry.seq)
    )
    SELECT min(broken) FROM (
        SELECT place AS broken FROM chain WHERE seq <> place OR prev_hash <> before OR hash <> computed
        UNION ALL  -- entries cut off at the end, which the head still remembers
        SELECT (SELECT count(*) FROM chain) + 1 FROM auth.audit_head AS head
        WHERE head.seq > 0 AND NOT EXISTS (SELECT FROM chain WHERE seq = head.seq AND hash = head.hash)
    ) AS found
$$;
