-- What is history stays as it was written.
--
-- Refusals of these guards have an SQLSTATE of class PB, named in app/database/refusals.py:
--   PB001 history is append-only      PB002 an order and its events do not go together
--   PB003 an edge no order may take   PB004 what was asked for never changes
--   PB005 fills do not add up         PB006 the writer is not the worker in office
--   PB007 the audit chain

CREATE FUNCTION public.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of %.% is refused: it is history, which is only ever added to',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'PB001', HINT = 'Correct a wrong entry by adding a new one.';
END $$;

-- One trigger a statement, so that TRUNCATE is refused too, also by way of CASCADE.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution.order_events
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution.order_attempts
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution.fills
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON portfolio.balance_adjustments
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON portfolio.position_adjustments
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON strategy.strategy_versions
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON auth.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

-- Orders change, under the guards of 5_orders.sql, but none ever goes.
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON execution.orders
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON execution.worker_lease
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON auth.audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
