-- An order is the projection of its events. One transaction writes, in this order:
--   a new order (NEW, version 1), then its event 1;
--   a change: the event (seq = version + 1), then its fill if it has one, then the order's row.
-- Each row is checked as it is written; that nothing was left out is checked at commit.

-- The legal edges, as in app/domain/orders.py (a test compares the two).
INSERT INTO execution.order_transition_rules (from_status, to_status, resurrecting) VALUES
    ('NEW', 'SUBMITTED', false),
    ('NEW', 'REJECTED', false),
    ('NEW', 'CANCELED', false),
    ('NEW', 'EXPIRED', false),
    ('SUBMITTED', 'OPEN', false),
    ('SUBMITTED', 'PARTIALLY_FILLED', false),
    ('SUBMITTED', 'FILLED', false),
    ('SUBMITTED', 'CANCELING', false),
    ('SUBMITTED', 'CANCELED', false),
    ('SUBMITTED', 'REJECTED', false),
    ('SUBMITTED', 'EXPIRED', false),
    ('OPEN', 'PARTIALLY_FILLED', false),
    ('OPEN', 'FILLED', false),
    ('OPEN', 'CANCELING', false),
    ('OPEN', 'CANCELED', false),
    ('OPEN', 'EXPIRED', false),
    ('PARTIALLY_FILLED', 'FILLED', false),
    ('PARTIALLY_FILLED', 'CANCELING', false),
    ('PARTIALLY_FILLED', 'CANCELED', false),
    ('PARTIALLY_FILLED', 'EXPIRED', false),
    ('CANCELING', 'OPEN', false),
    ('CANCELING', 'PARTIALLY_FILLED', false),
    ('CANCELING', 'FILLED', false),
    ('CANCELING', 'CANCELED', false),
    ('CANCELING', 'REJECTED', false),
    ('CANCELING', 'EXPIRED', false),
    -- An order thought never to have been there turned out to exist: only the event `resurrected` may take these.
    ('EXPIRED', 'OPEN', true),
    ('EXPIRED', 'PARTIALLY_FILLED', true),
    ('EXPIRED', 'FILLED', true),
    ('EXPIRED', 'CANCELED', true),
    ('CANCELED', 'OPEN', true),
    ('CANCELED', 'PARTIALLY_FILLED', true),
    ('CANCELED', 'FILLED', true),
    ('CANCELED', 'EXPIRED', true);

-- Events ---------------------------------------------------------------------------------------------------

-- Without an epoch (the web, an operator's command) one may only say what was decided before anything was
-- sent, or that a cancel is wanted. Everything else is knowledge that only the worker in office can have.
CREATE FUNCTION execution.needs_no_epoch(event execution.order_events) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT event.source IN ('user', 'operator') AND CASE event.kind
        WHEN 'created' THEN true
        WHEN 'rejected' THEN event.from_status = 'NEW'
        WHEN 'canceled' THEN event.from_status = 'NEW'
        WHEN 'cancel_requested' THEN event.to_status = 'CANCELING'
        WHEN 'note' THEN event.to_status = event.from_status
        ELSE false
    END
$$;

CREATE FUNCTION execution.guard_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest execution.order_events;
    what text := format('event %s (%s) of order %s', NEW.seq, NEW.kind, NEW.order_id);
BEGIN
    -- Who writes. The roles' names are checked because any role could read the epoch and claim it.
    IF current_user = 'web' AND NEW.epoch IS NOT NULL THEN
        RAISE EXCEPTION '% is refused: the web process is not the worker', what USING ERRCODE = 'PB006';
    ELSIF NEW.epoch IS NOT NULL OR current_user = 'worker' OR execution.needs_no_epoch(NEW) IS NOT TRUE THEN
        PERFORM execution.require_epoch(NEW.epoch, what);
    END IF;

    -- Where it stands: right after the newest event, and from the status which that one left.
    SELECT * INTO newest FROM execution.order_events WHERE order_id = NEW.order_id ORDER BY seq DESC LIMIT 1;
    IF NEW.seq <> coalesce(newest.seq, 0) + 1 THEN
        RAISE EXCEPTION '% is refused: the next event of this order has seq %', what, coalesce(newest.seq, 0) + 1
            USING ERRCODE = 'PB002';
    ELSIF NEW.from_status IS DISTINCT FROM newest.to_status THEN
        RAISE EXCEPTION '% is refused: it starts from %, the order is %',
            what, coalesce(NEW.from_status, 'nothing'), coalesce(newest.to_status, 'not begun')
            USING ERRCODE = 'PB002';
    ELSIF (NEW.seq = 1) <> (NEW.kind = 'created') OR (NEW.seq = 1 AND NEW.to_status <> 'NEW') THEN
        RAISE EXCEPTION '% is refused: the first event, and no other, is `created`, to NEW', what
            USING ERRCODE = 'PB002';
    END IF;

    -- Whether the lifecycle has this edge. Staying in a status is not an edge.
    IF NEW.from_status <> NEW.to_status AND NOT EXISTS (
        SELECT FROM execution.order_transition_rules AS rule
        WHERE rule.from_status = NEW.from_status AND rule.to_status = NEW.to_status
          AND rule.resurrecting = (NEW.kind = 'resurrected')
    ) THEN
        RAISE EXCEPTION '% is refused: an order cannot go from % to %', what, NEW.from_status, NEW.to_status
            USING ERRCODE = 'PB003';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER guarded BEFORE INSERT ON execution.order_events
    FOR EACH ROW EXECUTE FUNCTION execution.guard_event();

-- Orders ---------------------------------------------------------------------------------------------------

CREATE FUNCTION execution.guard_new_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> 'NEW' OR NEW.version <> 1 THEN
        RAISE EXCEPTION 'order % is refused: an order begins as NEW with version 1, not as % with version %',
            NEW.client_order_id, NEW.status, NEW.version USING ERRCODE = 'PB002';
    ELSIF NEW.filled <> 0 OR NEW.filled_quote <> 0 OR NEW.exchange_order_id IS NOT NULL
        OR NEW.signed_timestamp_ms IS NOT NULL OR NEW.recv_window_ms IS NOT NULL THEN
        RAISE EXCEPTION 'order % is refused: nothing was sent yet, so there can be no fill, no attempt and no '
            'exchange id', NEW.client_order_id USING ERRCODE = 'PB002';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER begins_as_new BEFORE INSERT ON execution.orders
    FOR EACH ROW EXECUTE FUNCTION execution.guard_new_order();

CREATE FUNCTION execution.guard_order_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- What an event without an epoch may change.
    decided constant text[] := ARRAY['status', 'version', 'cancel_requested_at_ms', 'outcome_unknown_since_ms',
                                     'reserved', 'reject_code', 'reject_reason'];
    -- What the worker may change besides.
    learned constant text[] := ARRAY['filled', 'filled_quote', 'last_report_ms'];
    -- What is learned once: the size of an order sized in quote, its attempt, the exchange's name for it.
    learned_once constant text[] := ARRAY['quantity', 'exchange_order_id', 'signed_timestamp_ms', 'recv_window_ms'];
    before constant jsonb := to_jsonb(OLD);
    after constant jsonb := to_jsonb(NEW);
    changed constant text[] := ARRAY(SELECT key FROM jsonb_each(after) WHERE value <> before -> key);
    fixed text[];
    event execution.order_events;
BEGIN
    SELECT array_agg(name) INTO fixed FROM unnest(changed) AS name
    WHERE name <> ALL (decided || learned || learned_once)
       OR (name = ANY (learned_once) AND before -> name <> 'null');
    IF fixed IS NOT NULL THEN
        RAISE EXCEPTION 'order % is refused another %: what was asked for or learned never changes',
            OLD.id, array_to_string(fixed, ', ') USING ERRCODE = 'PB004';
    END IF;

    SELECT * INTO event FROM execution.order_events WHERE order_id = OLD.id AND seq = NEW.version;
    IF NEW.version <> OLD.version + 1 OR event IS NULL
        OR event.from_status <> OLD.status OR event.to_status <> NEW.status THEN
        RAISE EXCEPTION 'order % may not go from % (version %) to % (version %): no event says so',
            OLD.id, OLD.status, OLD.version, NEW.status, NEW.version USING ERRCODE = 'PB002';
    END IF;

    IF event.epoch IS NULL AND NOT changed <@ decided THEN
        RAISE EXCEPTION 'order % may not change its % by an event without an epoch',
            OLD.id, array_to_string(changed, ', ') USING ERRCODE = 'PB006';
    END IF;

    IF NEW.filled < OLD.filled OR NEW.filled_quote < OLD.filled_quote THEN
        RAISE EXCEPTION 'order % may not lose fills: filled % after %', OLD.id, NEW.filled, OLD.filled
            USING ERRCODE = 'PB005';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER follows_its_events BEFORE UPDATE ON execution.orders
    FOR EACH ROW EXECUTE FUNCTION execution.guard_order_change();

-- Fills ----------------------------------------------------------------------------------------------------

-- After the insert, so that ON CONFLICT DO NOTHING may skip a fill that is booked already. A fill carries no
-- epoch of its own: the event that brought it has passed the fence.
CREATE FUNCTION execution.guard_fill() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    what text := format('fill %s of order %s', NEW.trade_id, NEW.order_id);
    ordered execution.orders;
    total numeric;
BEGIN
    SELECT * INTO ordered FROM execution.orders WHERE id = NEW.order_id;
    IF (NEW.account_id, NEW.symbol, NEW.side, NEW.run_id)
        IS DISTINCT FROM (ordered.account_id, ordered.symbol, ordered.side, ordered.run_id) THEN
        RAISE EXCEPTION '% is refused: account, symbol, side and run must be its order''s', what
            USING ERRCODE = 'PB005';
    ELSIF ordered.status = 'REJECTED' THEN
        RAISE EXCEPTION '% is refused: the order is REJECTED', what USING ERRCODE = 'PB005';
    END IF;

    SELECT sum(quantity) INTO total FROM execution.fills WHERE order_id = NEW.order_id;
    IF total > ordered.quantity THEN
        RAISE EXCEPTION '% is refused: % filled of % ordered', what, total, ordered.quantity USING ERRCODE = 'PB005';
    END IF;

    IF NOT EXISTS (
        SELECT FROM execution.order_events
        WHERE order_id = NEW.order_id AND seq > ordered.version AND dedup_key = 'fill:' || NEW.trade_id
    ) THEN
        RAISE EXCEPTION '% is refused: no event of this transaction brought it', what USING ERRCODE = 'PB002';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER fits_its_order AFTER INSERT ON execution.fills
    FOR EACH ROW EXECUTE FUNCTION execution.guard_fill();

-- At commit ------------------------------------------------------------------------------------------------

-- For every new order, change and event. A fill needs no trigger here: it cannot come without an event.
CREATE FUNCTION execution.check_order() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    checked bigint;
    ordered execution.orders;
    newest execution.order_events;
    booked numeric;
    booked_quote numeric;
BEGIN
    IF TG_TABLE_NAME = 'orders' THEN
        checked := NEW.id;
    ELSE
        checked := NEW.order_id;
    END IF;
    SELECT * INTO ordered FROM execution.orders WHERE id = checked;
    SELECT * INTO newest FROM execution.order_events WHERE order_id = checked ORDER BY seq DESC LIMIT 1;
    IF newest IS NULL OR newest.seq <> ordered.version OR newest.to_status <> ordered.status THEN
        RAISE EXCEPTION 'order % is % with version %, its newest event says % with seq %',
            checked, ordered.status, ordered.version, coalesce(newest.to_status, 'nothing'), coalesce(newest.seq, 0)
            USING ERRCODE = 'PB002';
    END IF;

    SELECT coalesce(sum(quantity), 0), coalesce(sum(quote_quantity), 0) INTO booked, booked_quote
    FROM execution.fills WHERE order_id = checked;
    IF booked <> ordered.filled OR booked_quote <> ordered.filled_quote THEN
        RAISE EXCEPTION 'order % says it filled % for %, its fills add up to % for %',
            checked, ordered.filled, ordered.filled_quote, booked, booked_quote USING ERRCODE = 'PB005';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER whole_at_commit AFTER INSERT OR UPDATE ON execution.orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION execution.check_order();
CREATE CONSTRAINT TRIGGER whole_at_commit AFTER INSERT ON execution.order_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION execution.check_order();
