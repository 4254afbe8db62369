-- The results, written by the sink and by nothing else; never captured. Every row is
-- one record of a result topic: (portfolio, session) at one revision.

CREATE SCHEMA IF NOT EXISTS analytics;

COMMENT ON SCHEMA analytics IS
    'Results of Deltafolio. Derived: whatever is written here by hand is lost.';

CREATE TABLE IF NOT EXISTS analytics.portfolio_snapshots (
    portfolio_id bigint NOT NULL,
    session date NOT NULL,
    status text,
    nav numeric(20, 4),
    cash numeric(20, 4),
    market_value numeric(20, 4),
    long_value numeric(20, 4),
    short_value numeric(20, 4),
    gross_value numeric(20, 4),
    net_value numeric(20, 4),
    flow numeric(20, 4),
    pnl numeric(20, 4),
    daily_return double precision,
    realized_pnl numeric(20, 4),
    cumulative_pnl numeric(20, 4),
    cumulative_realized_pnl numeric(20, 4),
    cumulative_flow numeric(20, 4),
    lots integer,
    long_lots integer,
    short_lots integer,
    names integer,
    hhi double precision,
    effective_names double precision,
    top3 double precision,
    top10 double precision,
    reasons jsonb,
    quality jsonb,
    cause jsonb,
    previous jsonb,
    as_of timestamptz,
    rev_p bigint NOT NULL,
    rev_m bigint NOT NULL,
    rev_v integer NOT NULL,
    PRIMARY KEY (portfolio_id, session)
);
CREATE INDEX IF NOT EXISTS portfolio_snapshots_session
    ON analytics.portfolio_snapshots (session);

-- The lots of a portfolio and session as parallel arrays, in the order of their ids: a
-- record replaces all of them at once, and loading costs by the record, not by the lot
-- (docs/decisions/0004-results-in-postgresql.md). position_values has a row for a lot.
CREATE TABLE IF NOT EXISTS analytics.position_arrays (
    portfolio_id bigint NOT NULL,
    session date NOT NULL,
    status text,
    lot bigint[],
    symbol text[],
    position_type text[],
    investment_class text[],
    quantity numeric(20, 4)[],
    entry_price numeric(20, 6)[],
    price numeric(20, 6)[],
    price_date date[],
    price_status text[],
    market_value numeric(20, 4)[],
    pnl numeric(20, 4)[],
    traded numeric(20, 4)[],
    realized_pnl numeric(20, 4)[],
    flags jsonb,
    reasons jsonb,
    cause jsonb,
    previous jsonb,
    as_of timestamptz,
    rev_p bigint NOT NULL,
    rev_m bigint NOT NULL,
    rev_v integer NOT NULL,
    PRIMARY KEY (portfolio_id, session)
);
-- The column was numeric(16, 4), which is what a row may hold: events make more of it.
-- Views over it are emptied while its type changes, and not dropped: rights on them, and
-- what others have built on them, stay.
DO $$
DECLARE
    quantity_type text := (
        SELECT format_type(a.atttypid, a.atttypmod)
        FROM pg_attribute AS a
        WHERE a.attrelid = 'analytics.position_arrays'::regclass
            AND a.attname = 'quantity'
    );
    emptied text[];
    again text[];
    statement text;
BEGIN
    IF quantity_type <> 'numeric(16,4)[]' THEN
        RETURN;
    END IF;
    SELECT
        array_agg(
            format('CREATE OR REPLACE VIEW %s AS SELECT %s', v.name, v.nulls)
        ),
        array_agg(format('CREATE OR REPLACE VIEW %s AS %s', v.name, v.definition))
    INTO emptied, again
    FROM (
        SELECT
            c.oid::regclass AS name,
            pg_get_viewdef(c.oid) AS definition,
            string_agg(
                format('NULL::%s', format_type(a.atttypid, a.atttypmod))
                || CASE
                    WHEN a.attcollation = 0 THEN ''
                    ELSE format(' COLLATE %s', a.attcollation::regcollation)
                END
                || format(' AS %I', a.attname),
                ', ' ORDER BY a.attnum
            ) AS nulls
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'analytics'::regnamespace
            AND c.relname IN ('position_values', 'positions_valued')
        GROUP BY c.oid
    ) AS v;
    FOREACH statement IN ARRAY coalesce(emptied, '{}') LOOP
        EXECUTE statement;
    END LOOP;
    ALTER TABLE analytics.position_arrays ALTER COLUMN quantity TYPE numeric(20, 4)[];
    FOREACH statement IN ARRAY coalesce(again, '{}') LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
-- A record of 21 lots has 3–4 KB: above 2 KB PostgreSQL would try to compress each.
ALTER TABLE analytics.position_arrays SET (toast_tuple_target = 8160);

-- The newest records are replaced many times a minute.
ALTER TABLE analytics.portfolio_snapshots SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE analytics.position_arrays SET (autovacuum_vacuum_scale_factor = 0.02);

-- A result that ceased to exist, at its revision: an older record of the same cell,
-- written late by a former owner of the partition, must not bring it back.
CREATE TABLE IF NOT EXISTS analytics.sink_retractions (
    family text NOT NULL,
    portfolio_id bigint NOT NULL,
    session date NOT NULL,
    rev_p bigint NOT NULL,
    rev_m bigint NOT NULL,
    rev_v integer NOT NULL,
    PRIMARY KEY (family, portfolio_id, session)
);

-- Up to where each topic is in these tables; written in the transaction of the rows.
CREATE TABLE IF NOT EXISTS analytics.sink_offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Records that are no results (foreign, damaged, of an unknown shape): passed, and said.
CREATE TABLE IF NOT EXISTS analytics.sink_refused (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    reason text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    rev_p bigint,
    rev_m bigint,
    rev_v integer,
    PRIMARY KEY (topic, partition, "offset")
);
-- Its revision, where it says one: whether the row that is there is older. Only where it
-- is missing: the lock would be held against a sink that runs.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'analytics.sink_refused'::regclass AND attname = 'rev_v'
    ) THEN
        ALTER TABLE analytics.sink_refused
            ADD COLUMN rev_p bigint,
            ADD COLUMN rev_m bigint,
            ADD COLUMN rev_v integer;
    END IF;
END $$;

-- Catch-ups of live workers and replays: what a run derived, how long each phase took,
-- how it ended. Told by topic ``runs`` (connectors/runs.py), the newest record a run.
CREATE TABLE IF NOT EXISTS analytics.runs (
    run text PRIMARY KEY,
    kind text NOT NULL,
    status text NOT NULL,
    first_session date,
    last_session date,
    started timestamptz NOT NULL,
    updated timestamptz NOT NULL,
    ended timestamptz,
    counts jsonb NOT NULL,
    seconds jsonb NOT NULL,
    error text
);
CREATE INDEX IF NOT EXISTS runs_started ON analytics.runs (started);

CREATE OR REPLACE VIEW analytics.position_values AS
SELECT
    a.portfolio_id,
    a.session,
    a.status,
    l.lot,
    l.symbol,
    l.position_type,
    l.investment_class,
    l.quantity,
    l.entry_price,
    l.price,
    l.price_date,
    l.price_status,
    l.market_value,
    l.pnl,
    l.traded,
    l.realized_pnl,
    coalesce(a.flags -> (l.ordinality - 1)::integer, '[]'::jsonb) AS flags,
    a.as_of,
    a.rev_p,
    a.rev_m,
    a.rev_v
FROM analytics.position_arrays AS a
CROSS JOIN LATERAL unnest(
    a.lot, a.symbol, a.position_type, a.investment_class, a.quantity, a.entry_price,
    a.price, a.price_date, a.price_status, a.market_value, a.pnl, a.traded,
    a.realized_pnl
) WITH ORDINALITY AS l (
    lot, symbol, position_type, investment_class, quantity, entry_price,
    price, price_date, price_status, market_value, pnl, traded,
    realized_pnl, ordinality
);

COMMENT ON VIEW analytics.position_values IS
    'One row a lot, portfolio and session, unnested from position_arrays.';

-- Daily returns of a range of sessions, linked: leading nulls are skipped; a null after
-- the first return, or a loss of everything (1 + r <= 0), makes the answer null.
CREATE OR REPLACE FUNCTION analytics.linked_return(
    portfolio bigint, from_session date, to_session date
) RETURNS double precision
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    growth double precision;
    r double precision;
BEGIN
    FOR r IN
        SELECT s.daily_return
        FROM analytics.portfolio_snapshots AS s
        WHERE s.portfolio_id = portfolio
            AND s.session BETWEEN from_session AND to_session
        ORDER BY s.session
    LOOP
        IF r IS NULL THEN
            IF growth IS NOT NULL THEN
                RETURN NULL;
            END IF;
        ELSIF 1 + r <= 0 THEN
            RETURN NULL;
        ELSE
            growth := coalesce(growth, 1) * (1 + r);
        END IF;
    END LOOP;
    RETURN growth - 1;
END;
$$;
