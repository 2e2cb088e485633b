-- The fence: a worker that was replaced while it slept can write nothing when it wakes.

-- An epoch that went back would let an old worker in again.
CREATE FUNCTION execution.guard_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'the lease''s epoch only grows: % after % is refused', NEW.epoch, OLD.epoch
            USING ERRCODE = 'PB006';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER epoch_grows BEFORE UPDATE ON execution.worker_lease
    FOR EACH ROW EXECUTE FUNCTION execution.guard_lease();

-- `FOR SHARE`: nobody can take the lease over between this check and the writer's commit. So no transaction
-- that has passed the fence may stay open over a request to the exchange.
CREATE FUNCTION execution.require_epoch(written bigint, what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    in_office bigint;
BEGIN
    IF written IS NULL THEN
        RAISE EXCEPTION '% is refused: only the worker in office may write it, with its epoch', what
            USING ERRCODE = 'PB006';
    END IF;
    SELECT epoch INTO in_office FROM execution.worker_lease WHERE id = 1 FOR SHARE;
    IF in_office IS DISTINCT FROM written THEN
        RAISE EXCEPTION '% is refused: it carries epoch %, the worker in office has epoch %', what, written, in_office
            USING ERRCODE = 'PB006';
    END IF;
END $$;

CREATE FUNCTION execution.guard_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM execution.require_epoch(NEW.epoch, format('an attempt to send order %s', NEW.order_id));
    RETURN NEW;
END $$;

CREATE TRIGGER fenced BEFORE INSERT ON execution.order_attempts
    FOR EACH ROW EXECUTE FUNCTION execution.guard_attempt();

INSERT INTO execution.worker_lease (id) VALUES (1);
