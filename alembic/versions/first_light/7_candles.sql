-- With TimescaleDB at hand, candles are a hypertable with a chunk a month. `create_hypertable` is in the Apache
-- edition; nothing of the other edition is used, so that both behave alike. Without it: the plain table.
--
-- The library must be preloaded, or CREATE EXTENSION would end the connection; its own setting tells.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
        OR current_setting('timescaledb.disable_load', true) IS NULL THEN
        RETURN;
    END IF;
    BEGIN
        CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE NOTICE 'TimescaleDB is there but this role may not install it: candles stay a plain table';
        RETURN;
    END;
    PERFORM create_hypertable(
        'analytics.candles', 'open_time_ms',
        chunk_time_interval => 30 * 86400000::bigint, create_default_indexes => false
    );
END $$;
