-- Small helpers: sampling, medians, a look at what runs.

-- n_samples different integers from 1 to max_val, the same ones for the same seed (-1 to 1); all of them when there are
-- not enough. Whoever draws random numbers in this session afterwards gets unpredictable ones again.
CREATE FUNCTION public.random_ints(seed double precision, n_samples integer, max_val integer) RETURNS TABLE (id integer)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    afterwards constant double precision := 2 * random() - 1;
    picked integer[] := '{}';
BEGIN
    PERFORM setseed(seed);
    IF n_samples >= max_val / 2 THEN
        picked := ARRAY(SELECT n FROM generate_series(1, max_val) n ORDER BY random() LIMIT greatest(n_samples, 0));
    ELSE
        WHILE cardinality(picked) < n_samples LOOP
            picked := ARRAY(
                SELECT DISTINCT n FROM (
                    SELECT unnest(picked)
                    UNION ALL
                    SELECT 1 + floor(random() * max_val)::integer FROM generate_series(1, n_samples - cardinality(picked))
                ) draws (n)
            );
        END LOOP;
    END IF;
    PERFORM setseed(afterwards);
    RETURN QUERY SELECT unnest(picked);
END
$$;

CREATE FUNCTION public._final_median(anycompatiblearray) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v::double precision) FROM unnest($1) v $$;

CREATE AGGREGATE public.median(anycompatible) (
    SFUNC = pg_catalog.array_append,
    STYPE = anycompatiblearray,
    FINALFUNC = public._final_median,
    INITCOND = '{}',
    PARALLEL = SAFE
);

CREATE FUNCTION public.isnumeric(text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM $1::numeric;
    RETURN true;
EXCEPTION WHEN invalid_text_representation OR numeric_value_out_of_range THEN
    RETURN false;
END
$$;

CREATE FUNCTION public.long_running_queries()
RETURNS TABLE (pid integer, duration interval, query text, state text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.pid, now() - a.query_start, a.query, a.state
    FROM pg_stat_activity a
    WHERE now() - a.query_start > interval '5 minutes'
$$;

-- Arrivals of a unit-rate process within lambda: exact, in time proportional to lambda.
CREATE FUNCTION public.random_poisson(lambda double precision DEFAULT 1.0) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    elapsed double precision := 0;
    arrivals integer := -1;
BEGIN
    WHILE elapsed <= lambda LOOP
        elapsed := elapsed - ln(1 - random());
        arrivals := arrivals + 1;
    END LOOP;
    RETURN arrivals;
END
$$;

CREATE FUNCTION public.random_pick(anyarray) RETURNS anyelement
LANGUAGE sql VOLATILE
AS $$ SELECT $1[array_lower($1, 1) + floor(random() * cardinality($1))::integer] $$;
