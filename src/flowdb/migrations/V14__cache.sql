-- What clients see of the cache, mended.

-- A touch of a Table is counted for that row and for no other: FlowMachine reads several for one query, and results would
-- age by all of them.
CREATE OR REPLACE FUNCTION public.touch_cache(cached_query_id text) RETURNS double precision
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Powers are kept as logarithms: exp() of these bounds, with a table's cost and size on top, stays within a double.
    move_origin_at constant double precision := 175;
    never_above constant double precision := 460;
    growth constant double precision := ln(1 + ln(2::double precision) / coalesce(public.cache_half_life(), 1000));
    kind text;
    touch bigint;
    origin bigint;
    power double precision;
    score double precision;
BEGIN
    SELECT class INTO kind FROM cache.cached WHERE query_id = cached_query_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Query id ''%'' is not in cache.', cached_query_id;
    END IF;
    IF kind = 'Table' THEN
        UPDATE cache.cached
        SET cache_score_multiplier = 0, access_count = coalesce(access_count, 0) + 1, last_accessed = now()
        WHERE query_id = cached_query_id;
        RETURN 0;
    END IF;
    touch := nextval('cache.cache_touches');
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
    SET cache_score_multiplier = coalesce(c.cache_score_multiplier, 0) + exp(power),
        access_count = coalesce(c.access_count, 0) + 1,
        last_accessed = now()
    WHERE c.query_id = cached_query_id
    RETURNING public.cache_score(c.cache_score_multiplier, c.compute_time, public.table_size(c.tablename, c.schema))
    INTO score;
    RETURN score;
END
$$;

-- Negative numbers are numbers, too: every result older than -5 seconds may go, and a cache of -1 bytes is always too big.
ALTER TABLE cache.cache_config
    DROP CONSTRAINT cache_config_cache_size,
    DROP CONSTRAINT cache_config_protected_period,
    ADD CONSTRAINT cache_config_cache_size CHECK (key <> 'cache_size' OR value ~ '^-?[0-9]{1,18}$'),
    ADD CONSTRAINT cache_config_protected_period CHECK (key <> 'cache_protected_period' OR value ~ '^-?[0-9]{1,18}$');

-- FlowMachine 1.34.0 sets the period under a key that it does not read. The row is there to be written to: what it is
-- given goes to the right one.
INSERT INTO cache.cache_config (key) VALUES ('protected_period');

CREATE FUNCTION flowkit.set_protected_period() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE cache.cache_config SET value = NEW.value WHERE key = 'cache_protected_period';
    UPDATE cache.cache_config SET value = NULL WHERE key = NEW.key;
    RETURN NULL;
END
$$;

CREATE TRIGGER set_protected_period AFTER UPDATE ON cache.cache_config
    FOR EACH ROW WHEN (NEW.key = 'protected_period' AND NEW.value IS NOT NULL)
    EXECUTE FUNCTION flowkit.set_protected_period();

-- Whoever makes a table in the cache makes it for FlowMachine, which could not drop it otherwise. It runs with the rights
-- of whoever makes the table. What FlowMachine itself stores is made inside EXPLAIN, which fires no event; it hands its
-- tables over by itself.
CREATE FUNCTION flowkit.give_to_flowmachine() RETURNS event_trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made record;
BEGIN
    FOR made IN
        SELECT c.oid::regclass AS name
        FROM pg_event_trigger_ddl_commands() e
        JOIN pg_class c ON e.classid = 'pg_class'::regclass AND c.oid = e.objid
        JOIN pg_roles owner ON owner.oid = c.relowner
        WHERE c.relnamespace = 'cache'::regnamespace AND c.relkind IN ('r', 'p') AND owner.rolname <> 'flowmachine'
          AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'flowmachine')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO flowmachine', made.name);
    END LOOP;
END
$$;

CREATE EVENT TRIGGER flowkit_cache_owner ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
    EXECUTE FUNCTION flowkit.give_to_flowmachine();
