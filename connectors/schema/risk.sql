-- Risk of portfolios and statistics of symbols: a row is a record, whose content is kept
-- as it was published. Loading costs by the record; the views take it apart when read
-- (docs/decisions/0007-symbol-statistics-once.md).

CREATE TABLE IF NOT EXISTS analytics.portfolio_risk (
    portfolio_id bigint NOT NULL,
    session date NOT NULL,
    status text,
    content json NOT NULL,
    cause jsonb,
    previous jsonb,
    as_of timestamptz,
    rev_p bigint NOT NULL,
    rev_m bigint NOT NULL,
    rev_v integer NOT NULL,
    PRIMARY KEY (portfolio_id, session)
);

CREATE TABLE IF NOT EXISTS analytics.symbol_statistics (
    symbol text NOT NULL,
    session date NOT NULL,
    content json NOT NULL,
    cause jsonb,
    previous jsonb,
    as_of timestamptz,
    rev_p bigint NOT NULL,
    rev_m bigint NOT NULL,
    rev_v integer NOT NULL,
    PRIMARY KEY (symbol, session)
);
CREATE INDEX IF NOT EXISTS symbol_statistics_session
    ON analytics.symbol_statistics (session);
-- Records have 2–8 KB and little to gain: PostgreSQL would try to compress each.
ALTER TABLE analytics.portfolio_risk SET (toast_tuple_target = 8160);
ALTER TABLE analytics.symbol_statistics SET (toast_tuple_target = 8160);
ALTER TABLE analytics.portfolio_risk SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE analytics.symbol_statistics SET (autovacuum_vacuum_scale_factor = 0.02);

-- As sink_retractions, of symbols.
CREATE TABLE IF NOT EXISTS analytics.symbol_retractions (
    family text NOT NULL,
    symbol text NOT NULL,
    session date NOT NULL,
    rev_p bigint NOT NULL,
    rev_m bigint NOT NULL,
    rev_v integer NOT NULL,
    PRIMARY KEY (family, symbol, session)
);

-- --- lots --------------------------------------------------------------------------
-- A symbol's statistics are those of each lot that is held, PUBLIC and no option; any
-- other lot has none, not_covered.

CREATE OR REPLACE VIEW analytics.position_statistics AS
SELECT
    l.portfolio_id,
    l.session,
    l.lot,
    l.symbol,
    l.quantity,
    l.market_value,
    CASE
        WHEN NOT l.has_statistics THEN 'not_covered'
        -- A symbol that never had a price has no record: there are no returns.
        WHEN s.content IS NULL THEN 'too_few'
    END AS reason,
    s.content,
    s.as_of,
    s.rev_p,
    s.rev_m,
    s.rev_v
FROM (
    SELECT
        v.*,
        v.investment_class = 'PUBLIC' AND v.position_type IN ('LONG', 'SHORT')
        AND v.quantity <> 0 AS has_statistics
    FROM analytics.position_values AS v
) AS l
LEFT JOIN analytics.symbol_statistics AS s
    ON l.has_statistics AND s.symbol = l.symbol AND s.session = l.session
-- Where symbols are not published there is nothing to say.
WHERE EXISTS (
    SELECT FROM analytics.symbol_statistics AS e WHERE e.session = l.session
);

CREATE OR REPLACE VIEW analytics.position_market_betas AS
SELECT
    p.portfolio_id, p.session, p.lot, p.symbol, p.quantity, p.market_value,
    f.beta, f.alpha, f.r2, f.se, f.p, f.n, f.clipped,
    coalesce(p.reason, f.reason) AS reason,
    p.as_of, p.rev_p, p.rev_m, p.rev_v
FROM analytics.position_statistics AS p
LEFT JOIN LATERAL json_to_record(p.content -> 'market') AS f (
    beta double precision, alpha double precision, r2 double precision,
    se double precision, p double precision, n integer, clipped boolean, reason text
) ON true;

CREATE OR REPLACE VIEW analytics.position_interest_rate_betas AS
SELECT
    p.portfolio_id, p.session, p.lot, p.symbol, p.quantity, p.market_value,
    f.beta, f.alpha, f.r2, f.se, f.p, f.n, f.clipped,
    coalesce(p.reason, f.reason) AS reason,
    p.as_of, p.rev_p, p.rev_m, p.rev_v
FROM analytics.position_statistics AS p
LEFT JOIN LATERAL json_to_record(p.content -> 'interest_rate') AS f (
    beta double precision, alpha double precision, r2 double precision,
    se double precision, p double precision, n integer, clipped boolean, reason text
) ON true;

-- A row a lot and factor: loadings of the ridge by style, betas of the spreads. A lot
-- without statistics has one row, of no factor.
CREATE OR REPLACE VIEW analytics.position_factor_exposures AS
SELECT
    p.portfolio_id, p.session, p.lot, p.symbol, p.quantity, p.market_value,
    f.kind, f.factor, f.factor_symbol, f.exposure, f.clipped, f.tilt, f.alpha, f.r2,
    f.se, f.p, f.n, f.condition, f.condition_reason,
    coalesce(p.reason, f.reason) AS reason,
    p.as_of, p.rev_p, p.rev_m, p.rev_v
FROM analytics.position_statistics AS p
LEFT JOIN LATERAL (
    SELECT
        'ridge' AS kind, e.key AS factor, l.symbol AS factor_symbol,
        l.loading AS exposure, l.clipped, NULL::text AS tilt,
        NULL::double precision AS alpha, r.r2, NULL::double precision AS se,
        NULL::double precision AS p, r.n, r.condition, r.condition_reason, l.reason
    FROM json_to_record(p.content -> 'ridge') AS r (
        r2 double precision, condition double precision, condition_reason text,
        n integer, loadings json
    )
    CROSS JOIN LATERAL json_each(r.loadings) AS e
    CROSS JOIN LATERAL json_to_record(e.value) AS l (
        symbol text, loading double precision, clipped boolean, reason text
    )
    UNION ALL
    SELECT
        'spread', e.key, NULL, s.beta, s.clipped, s.tilt, s.alpha, s.r2, s.se, s.p, s.n,
        NULL, NULL, s.reason
    FROM json_each(p.content -> 'spreads') AS e
    CROSS JOIN LATERAL json_to_record(e.value) AS s (
        beta double precision, alpha double precision, r2 double precision,
        se double precision, p double precision, n integer, clipped boolean,
        tilt text, reason text
    )
) AS f ON true;

-- The default windows as columns; whatever windows are set, in volatilities, with n.
CREATE OR REPLACE VIEW analytics.position_volatility AS
SELECT
    p.portfolio_id, p.session, p.lot, p.symbol, p.quantity, p.market_value,
    (v.volatility #>> '{21,value}')::double precision AS volatility_21,
    (v.volatility #>> '{63,value}')::double precision AS volatility_63,
    (v.volatility #>> '{252,value}')::double precision AS volatility_252,
    coalesce(p.reason, v.volatility #>> '{21,reason}') AS reason_21,
    coalesce(p.reason, v.volatility #>> '{63,reason}') AS reason_63,
    coalesce(p.reason, v.volatility #>> '{252,reason}') AS reason_252,
    v.volatility AS volatilities,
    (v.har ->> 'value')::double precision AS har,
    (v.har ->> 'n')::integer AS har_n,
    coalesce(p.reason, v.har ->> 'reason') AS har_reason,
    (v.trend ->> 'slope')::double precision AS trend_slope,
    (v.trend ->> 'strength')::double precision AS trend_strength,
    v.trend ->> 'direction' AS trend_direction,
    coalesce(p.reason, v.trend ->> 'reason') AS trend_reason,
    (v.percentile ->> 'value')::double precision AS percentile,
    (v.percentile ->> 'n')::integer AS percentile_n,
    coalesce(p.reason, v.percentile ->> 'reason') AS percentile_reason,
    p.as_of, p.rev_p, p.rev_m, p.rev_v,
    coalesce(p.reason, v.trend ->> 'strength_reason') AS trend_strength_reason
FROM analytics.position_statistics AS p
LEFT JOIN LATERAL json_to_record(p.content) AS v (
    volatility json, har json, trend json, percentile json
) ON true;

-- --- portfolios --------------------------------------------------------------------

-- A row a portfolio, session and factor: market, interest_rate, styles, spreads.
CREATE OR REPLACE VIEW analytics.factor_exposures AS
SELECT
    r.portfolio_id, r.session, r.status,
    f.kind, f.name, e.factor, e.value, e.money, e.coverage, e.tilt,
    e.reason, e.money_reason, e.coverage_reason,
    r.as_of, r.rev_p, r.rev_m, r.rev_v
FROM analytics.portfolio_risk AS r
CROSS JOIN LATERAL json_to_record(r.content) AS c (betas json, styles json, spreads json)
CROSS JOIN LATERAL (
    SELECT 'beta' AS kind, b.key AS name, b.value FROM json_each(c.betas) AS b
    UNION ALL
    SELECT 'style', s.key, s.value FROM json_each(c.styles) AS s
    UNION ALL
    SELECT 'spread', s.key, s.value FROM json_each(c.spreads) AS s
) AS f
CROSS JOIN LATERAL json_to_record(f.value) AS e (
    factor text, value double precision, money double precision,
    coverage double precision, tilt text, reason text, money_reason text,
    coverage_reason text
);

-- Of the series that today's weights would have had, and (twr_) of the own returns.
CREATE OR REPLACE VIEW analytics.portfolio_volatility AS
SELECT
    r.portfolio_id, r.session, r.status,
    (c.volatility #>> '{21,value}')::double precision AS volatility_21,
    (c.volatility #>> '{63,value}')::double precision AS volatility_63,
    (c.volatility #>> '{252,value}')::double precision AS volatility_252,
    c.volatility #>> '{21,reason}' AS reason_21,
    c.volatility #>> '{63,reason}' AS reason_63,
    c.volatility #>> '{252,reason}' AS reason_252,
    (c.volatility ->> 'coverage')::double precision AS coverage,
    c.volatility ->> 'coverage_reason' AS coverage_reason,
    (c.twr_volatility #>> '{21,value}')::double precision AS twr_volatility_21,
    (c.twr_volatility #>> '{63,value}')::double precision AS twr_volatility_63,
    (c.twr_volatility #>> '{252,value}')::double precision AS twr_volatility_252,
    c.twr_volatility #>> '{21,reason}' AS twr_reason_21,
    c.twr_volatility #>> '{63,reason}' AS twr_reason_63,
    c.twr_volatility #>> '{252,reason}' AS twr_reason_252,
    c.volatility AS volatilities,
    c.twr_volatility AS twr_volatilities,
    (c.volatility #>> '{har,value}')::double precision AS har,
    (c.volatility #>> '{har,n}')::integer AS har_n,
    c.volatility #>> '{har,reason}' AS har_reason,
    (c.volatility #>> '{trend,slope}')::double precision AS trend_slope,
    (c.volatility #>> '{trend,strength}')::double precision AS trend_strength,
    c.volatility #>> '{trend,direction}' AS trend_direction,
    c.volatility #>> '{trend,reason}' AS trend_reason,
    (c.volatility #>> '{percentile,value}')::double precision AS percentile,
    (c.volatility #>> '{percentile,n}')::integer AS percentile_n,
    c.volatility #>> '{percentile,reason}' AS percentile_reason,
    r.as_of, r.rev_p, r.rev_m, r.rev_v,
    c.volatility #>> '{trend,strength_reason}' AS trend_strength_reason
FROM analytics.portfolio_risk AS r
CROSS JOIN LATERAL json_to_record(r.content) AS c (volatility json, twr_volatility json);

CREATE OR REPLACE VIEW analytics.correlation_calculations AS
SELECT
    r.portfolio_id, r.session, r.status,
    ARRAY(SELECT json_array_elements_text(c.names)) AS names,
    c.mean, c.weighted_mean, c.mean_reason, c.effective_number, c.effective_reason,
    c.included, c.excluded, c.null_pairs, c.repaired, c.incomplete, c.clusters, c.reason,
    r.as_of, r.rev_p, r.rev_m, r.rev_v
FROM analytics.portfolio_risk AS r
CROSS JOIN LATERAL json_to_record(r.content -> 'correlation') AS c (
    names json, mean double precision, weighted_mean double precision, mean_reason text,
    effective_number double precision, effective_reason text, included integer,
    excluded integer, null_pairs integer, repaired boolean, incomplete boolean,
    clusters json, reason text
);

-- A row a pair. The arrays are the upper triangle row by row: of k names the pair (i, j),
-- i < j, counted from 1, stands at (i - 1)(2k - i)/2 + j - i.
CREATE OR REPLACE VIEW analytics.pairwise_correlations AS
SELECT
    r.portfolio_id, r.session, r.status,
    one.symbol AS symbol_1,
    two.symbol AS symbol_2,
    pair.rho::double precision AS rho,
    pair.n::integer AS n,
    pair.reason,
    r.as_of, r.rev_p, r.rev_m, r.rev_v
FROM analytics.portfolio_risk AS r
CROSS JOIN LATERAL json_to_record(r.content -> 'correlation') AS c (
    names json, rho json, n json, pair_reasons json
)
CROSS JOIN LATERAL ROWS FROM (
    json_array_elements_text(c.rho),
    json_array_elements_text(c.n),
    json_array_elements_text(c.pair_reasons)
) WITH ORDINALITY AS pair (rho, n, reason, place)
CROSS JOIN LATERAL json_array_elements_text(c.names) WITH ORDINALITY AS one (symbol, i)
CROSS JOIN LATERAL json_array_elements_text(c.names) WITH ORDINALITY AS two (symbol, j)
WHERE one.i < two.j
    AND pair.place
    = (one.i - 1) * (2 * json_array_length(c.names) - one.i) / 2 + two.j - one.i;

-- A row a sector and benchmark; without benchmarks, a row a sector.
CREATE OR REPLACE VIEW analytics.sector_exposures AS
SELECT
    r.portfolio_id, r.session, r.status,
    b.benchmark, b.date AS benchmark_date, b.benchmark_flagged,
    s.sector,
    s.long::double precision AS long,
    s.short::double precision AS short,
    s.net::double precision AS net,
    s.active::double precision AS active,
    b.reason, b.active_reason,
    r.as_of, r.rev_p, r.rev_m, r.rev_v
FROM analytics.portfolio_risk AS r
CROSS JOIN LATERAL json_array_elements(r.content -> 'sectors') AS e
CROSS JOIN LATERAL json_to_record(e) AS b (
    benchmark text, date date, benchmark_flagged boolean, sectors json, long json,
    short json, net json, active json, reason text, active_reason text
)
CROSS JOIN LATERAL ROWS FROM (
    json_array_elements_text(b.sectors),
    json_array_elements_text(b.long),
    json_array_elements_text(b.short),
    json_array_elements_text(b.net),
    json_array_elements_text(b.active)
) AS s (sector, long, short, net, active);
