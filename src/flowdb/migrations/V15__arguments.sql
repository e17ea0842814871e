-- Arguments that nobody thought of: null, negative, without an end.

-- With a null, no rows.
ALTER FUNCTION public.viewshed(regclass) STRICT;

CREATE OR REPLACE FUNCTION public.random_ints(seed double precision, n_samples integer, max_val integer)
RETURNS TABLE (id integer)
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    afterwards constant double precision := 2 * random() - 1;
    picked integer[] := '{}';
BEGIN
    PERFORM setseed(seed);
    IF n_samples >= max_val / 2 THEN
        RETURN QUERY
            SELECT n FROM generate_series(1, max_val) n ORDER BY random() LIMIT greatest(n_samples, 0);
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
        RETURN QUERY SELECT unnest(picked);
    END IF;
    PERFORM setseed(afterwards);
END
$$;

-- Arrivals of a unit-rate process within lambda: exact, in time proportional to lambda. From 100,000 on the normal
-- distribution stands in: it then differs by less than one part in 300.
CREATE OR REPLACE FUNCTION public.random_poisson(lambda double precision DEFAULT 1.0) RETURNS integer
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    elapsed double precision := 0;
    arrivals integer := -1;
BEGIN
    IF lambda <= 0 THEN
        RETURN 0;
    ELSIF lambda > 2e9 THEN
        RAISE EXCEPTION 'lambda is %; it may be 2000000000 at most', lambda;
    ELSIF lambda >= 100000 THEN
        RETURN round(lambda + sqrt(lambda) * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()));
    END IF;
    WHILE elapsed <= lambda LOOP
        elapsed := elapsed - ln(1 - random());
        arrivals := arrivals + 1;
    END LOOP;
    RETURN arrivals;
END
$$;

-- Any element that is not null; none of an empty array. Its parameter and its result have names now, which only a new
-- function can be given.
DROP FUNCTION public.random_pick(anyarray);
CREATE FUNCTION public.random_pick(a anyarray, OUT x anyelement)
LANGUAGE sql VOLATILE STRICT
AS $$
    SELECT e
    FROM (SELECT array_agg(e) AS some FROM unnest(a) e WHERE e IS NOT NULL) known,
        LATERAL (SELECT known.some[1 + floor(random() * cardinality(known.some))::integer]) picked (e)
$$;

CREATE OR REPLACE FUNCTION public.makegrid_2d(bound_polygon public.geometry, grid_step numeric, metric_srid integer DEFAULT 3857)
RETURNS public.geometry
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = public, pg_temp
AS $$
DECLARE
    box constant geometry := ST_Envelope(ST_Transform(bound_polygon, metric_srid));
    side constant double precision := grid_step;
    x constant double precision := ST_XMin(box);
    y constant double precision := ST_YMin(box);
    -- Some 150 bytes each: more would not fit into the one value that all of them are.
    at_most constant double precision := 5000000;
    columns double precision;
    rows double precision;
BEGIN
    IF side IS NULL OR NOT (side > 0 AND side < 'infinity') THEN
        RAISE EXCEPTION 'grid_step is %; it must be a positive number of metres', grid_step;
    END IF;
    columns := floor((ST_XMax(box) - x) / side);
    rows := floor((ST_YMax(box) - y) / side);
    IF (columns + 1) * (rows + 1) > at_most THEN
        RAISE EXCEPTION 'grid_step is %: that would be % squares, and % are the most that fit', grid_step,
            (columns + 1) * (rows + 1), at_most;
    END IF;
    RETURN (
        SELECT ST_Transform(ST_Collect(ST_MakeEnvelope(
                   x + i * side, y + j * side, x + (i + 1) * side, y + (j + 1) * side, metric_srid
               ) ORDER BY j, i), ST_SRID(bound_polygon))
        FROM generate_series(0, columns::integer) i, generate_series(0, rows::integer) j
    );
END
$$;
