-- The source's positions with their newest price and value. A join in place of writing
-- last_price and market_value back, which would be captured, derived and written again
-- for ever. Applied with search_path set to the source schema; the casts make the view the
-- same over tables of other types.
CREATE OR REPLACE VIEW analytics.positions_valued AS
SELECT
    p.id::bigint AS id,
    p.portfolio_id::bigint AS portfolio_id,
    p.symbol::text AS symbol,
    p.position_type::text AS position_type,
    p.investment_class::text AS investment_class,
    p.quantity::numeric AS quantity,
    p.entry_price::numeric AS entry_price,
    p.entry_date,
    p.exit_price::numeric AS exit_price,
    p.exit_date,
    newest.session,
    newest.price[spot.i] AS last_price,
    newest.price_date[spot.i] AS last_price_date,
    newest.price_status[spot.i] AS price_status,
    newest.market_value[spot.i] AS market_value,
    newest.as_of
FROM positions AS p
LEFT JOIN LATERAL (
    SELECT a.*
    FROM analytics.position_arrays AS a
    WHERE a.portfolio_id = p.portfolio_id
    ORDER BY a.session DESC
    LIMIT 1
) AS newest ON true
CROSS JOIN LATERAL (SELECT array_position(newest.lot, p.id::bigint) AS i) AS spot
WHERE p.deleted_at IS NULL;

COMMENT ON VIEW analytics.positions_valued IS
    'Positions with price and market value of the portfolio''s newest session; null for '
    'a lot that is not listed at that session (closed before it).';
