-- FlowMachine's stored results and how worth keeping each is.
--
-- A touch adds (1 + ln 2 / half_life) ^ (number of the touch) to a result's multiplier: newer touches weigh more, and
-- twice as much after half_life touches of anything. Written plainly that overflows after about a million touches; so
-- touches are counted from an origin, which is moved, and all multipliers scaled down alike, long before.
CREATE SCHEMA cache;
COMMENT ON SCHEMA flowkit IS 'The appliance''s own records; no client needs it.';

CREATE TABLE cache.cached (
    query_id varchar NOT NULL CONSTRAINT cache_pkey PRIMARY KEY,
    version varchar,
    query text,
    created timestamptz,
    access_count integer,
    last_accessed timestamptz,
    compute_time numeric,
    cache_score_multiplier numeric,
    class varchar,
    schema varchar,
    tablename varchar,
    obj bytea
);
COMMENT ON COLUMN cache.cached.compute_time IS 'Milliseconds.';
COMMENT ON COLUMN cache.cached.obj IS 'A pickled Python object: whoever can write it can run code in FlowMachine.';

CREATE TABLE cache.dependencies (
    query_id varchar NOT NULL CONSTRAINT cache_dependency_id REFERENCES cache.cached ON DELETE CASCADE,
    depends_on varchar NOT NULL CONSTRAINT cache_dependent_id REFERENCES cache.cached ON DELETE CASCADE,
    CONSTRAINT dependencies_pkey PRIMARY KEY (depends_on, query_id)
);
-- The primary key serves one of the two cascades; without this the other scans the table for every row removed.
CREATE INDEX dependencies_query_id_index ON cache.dependencies (query_id);

CREATE SEQUENCE cache.cache_touches START 1;

-- The checks keep out what would only fail later, inside every query.
CREATE TABLE cache.cache_config (
    key text PRIMARY KEY,
    value text,
    CONSTRAINT cache_config_half_life CHECK (key <> 'half_life' OR value::double precision > 0),
    CONSTRAINT cache_config_cache_size CHECK (key <> 'cache_size' OR value ~ '^[0-9]{1,18}$'),
    CONSTRAINT cache_config_protected_period CHECK (key <> 'cache_protected_period' OR value ~ '^[0-9]{1,18}$')
);
INSERT INTO cache.cache_config (key) VALUES ('half_life'), ('cache_size'), ('cache_protected_period');
COMMENT ON TABLE cache.cache_config IS 'half_life in touches, cache_size in bytes, cache_protected_period in seconds.';

CREATE TABLE flowkit.cache_origin (
    first_touch bigint NOT NULL
);
CREATE UNIQUE INDEX cache_origin_one_row ON flowkit.cache_origin ((true));
INSERT INTO flowkit.cache_origin VALUES (0);
COMMENT ON TABLE flowkit.cache_origin IS 'The touch from which the exponents of cache scores are counted.';

CREATE FUNCTION public.cache_half_life() RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT value::double precision FROM cache.cache_config WHERE key = 'half_life' $$;

CREATE FUNCTION public.cache_max_size() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT value::bigint FROM cache.cache_config WHERE key = 'cache_size' $$;

CREATE FUNCTION public.cache_protected_period() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT value::bigint FROM cache.cache_config WHERE key = 'cache_protected_period' $$;

-- Bytes on disk of an ordinary table with its indexes; 0 when there is none, because FlowMachine turns the answer into
-- a number without looking (with NULL, one vanished table stops the shrinking of the whole cache).
CREATE FUNCTION public.table_size(tablename text, table_schema text) RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::double precision
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = $1 AND n.nspname = $2 AND c.relkind = 'r'
$$;

-- Milliseconds of computing saved for each byte kept, weighted by how often and how lately it was wanted. An empty
-- or vanished table counts as a speck, not as a division by zero.
CREATE FUNCTION public.cache_score(cache_score_multiplier numeric, compute_time numeric, tablesize double precision)
RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT $1::double precision * ($2::double precision / 1000) / greatest(coalesce($3, 0), 0.00001)
$$;

CREATE FUNCTION public.touch_cache(cached_query_id text) RETURNS double precision
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Powers are kept as logarithms: exp() of these bounds, with a table's cost and size on top, stays within a double.
    move_origin_at constant double precision := 175;
    never_above constant double precision := 460;
    growth constant double precision := ln(1 + ln(2::double precision) / coalesce(public.cache_half_life(), 1000));
    touch constant bigint := nextval('cache.cache_touches');
    origin bigint;
    power double precision;
    score double precision;
BEGIN
    SELECT first_touch INTO origin FROM flowkit.cache_origin;
    IF touch < origin THEN -- the cache was reset, and its counter with it
        origin := 0;
        UPDATE flowkit.cache_origin SET first_touch = 0;
    END IF;
    power := (touch - 2 - origin) * growth;
    IF power > move_origin_at THEN
        BEGIN
            -- Everybody who touches now would wait for us, or we for them; when anybody does, the next touch will do.
            LOCK TABLE cache.cached IN SHARE ROW EXCLUSIVE MODE NOWAIT;
            UPDATE cache.cached SET cache_score_multiplier =
                CASE WHEN power > 650 THEN 0
                     ELSE cache_score_multiplier::double precision * exp(-power) END
                WHERE cache_score_multiplier <> 0;
            UPDATE flowkit.cache_origin SET first_touch = touch - 2;
            power := 0;
        EXCEPTION WHEN lock_not_available THEN
            power := least(power, never_above);
        END;
    END IF;
    UPDATE cache.cached c
    SET cache_score_multiplier = CASE WHEN c.class = 'Table' THEN 0 ELSE coalesce(c.cache_score_multiplier, 0) + exp(power) END,
        access_count = coalesce(c.access_count, 0) + 1,
        last_accessed = now()
    WHERE c.query_id = cached_query_id
    RETURNING public.cache_score(c.cache_score_multiplier, c.compute_time, public.table_size(c.tablename, c.schema))
    INTO score;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Query id ''%'' is not in cache.', cached_query_id;
    END IF;
    RETURN score;
END
$$;
