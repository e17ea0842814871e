-- How FlowDB is, for the administrators' page: since when it runs, what it and the results stored in it take, and how many of
-- FlowMachine's queries run. It runs as its owner, who may see other people's sessions and FlowMachine's book-keeping; no
-- statement and no query's id comes out. To measure a table takes a lock on it, which somebody may hold off for hours.
CREATE FUNCTION cache.figures() RETURNS TABLE (
    since timestamptz, bytes bigint, cache_bytes bigint, cache_most bigint, results bigint, running bigint
)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms'
AS $$
    SELECT pg_postmaster_start_time(), pg_database_size(current_database()),
        coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint, public.cache_max_size(), count(c.oid), (SELECT count(*) FROM cache.running_queries())
    FROM cache.cached q
    JOIN pg_namespace n ON n.nspname = q.schema AND n.nspname = 'cache'
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = q.tablename AND c.relkind = 'r'
$$;
COMMENT ON FUNCTION cache.figures() IS 'Bytes, and since when the server runs.';
