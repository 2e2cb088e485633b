-- Schemas, a room each, and the two kinds of money.

CREATE SCHEMA auth;
CREATE SCHEMA strategy;
CREATE SCHEMA execution;
CREATE SCHEMA portfolio;
CREATE SCHEMA backtest;
CREATE SCHEMA analytics;

-- Bare `numeric`, because numeric(38,18) rounds the 19th decimal silently. `< 'Infinity'` keeps out both
-- Infinity and NaN, which PostgreSQL sorts above everything.
CREATE DOMAIN public.amount AS numeric
    CONSTRAINT amount_finite_not_negative CHECK (VALUE >= 0 AND VALUE < 'Infinity')
    CONSTRAINT amount_at_most_18_decimals CHECK (scale(VALUE) <= 18);

CREATE DOMAIN public.signed_amount AS numeric
    CONSTRAINT signed_amount_finite CHECK (VALUE > '-Infinity' AND VALUE < 'Infinity')
    CONSTRAINT signed_amount_at_most_18_decimals CHECK (scale(VALUE) <= 18);
