-- Which of FlowMachine's queries some session stores or removes at this moment. It runs as its owner, because FlowMachine
-- may not see what analysts run; only the ids come out. A statement names the table it is about at its beginning.
-- Other SELECTs are left out: the server asks often whether a query is stored, also while that one stands still.
CREATE FUNCTION cache.running_queries() RETURNS TABLE (query_id text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT id[1]
    FROM pg_stat_activity a, LATERAL regexp_matches(a.query, '[0-9a-f]{32}', 'g') id
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.state <> 'idle'
        AND a.query ~* '^\s*(EXPLAIN|CREATE|ALTER|ANALYZE|INSERT|SELECT touch_cache|DELETE|DROP)\M'
$$;
