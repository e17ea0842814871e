-- What FlowMachine asks for when it connects. The functions run as their owner, so that nobody needs rights on the
-- tables; they read tables and are therefore STABLE.

CREATE TABLE public.flowdb_version (
    version text PRIMARY KEY,
    release_date date,
    updated boolean NOT NULL DEFAULT false,
    -- Version of the program that last brought the schema up to date.
    appliance text
);
COMMENT ON TABLE public.flowdb_version IS
    'Exactly one row: the FlowDB version whose clients this database serves. FlowMachine compares it as text.';
-- A second row would make flowdb_version() ambiguous.
CREATE UNIQUE INDEX flowdb_version_one_row ON public.flowdb_version ((true));

CREATE TABLE public.location_table (
    location_table text PRIMARY KEY,
    changed boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX location_table_one_row ON public.location_table ((true));
COMMENT ON TABLE public.location_table IS 'Exactly one row: the table whose id column events.*.location_id refers to.';

CREATE TABLE public.available_tables (
    table_name text PRIMARY KEY,
    has_locations boolean NOT NULL DEFAULT false,
    has_subscribers boolean NOT NULL DEFAULT false,
    has_counterparts boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE public.available_tables IS 'Which event tables hold what. FlowETL sets the flags after an ingestion.';

CREATE FUNCTION public.flowdb_version() RETURNS TABLE (version text, release_date date)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT v.version, v.release_date FROM public.flowdb_version v $$;

CREATE FUNCTION public.location_table() RETURNS TABLE (location_table text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT l.location_table FROM public.location_table l $$;

CREATE FUNCTION public.available_tables()
RETURNS TABLE (table_name text, has_locations boolean, has_subscribers boolean, has_counterparts boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT a.table_name, a.has_locations, a.has_subscribers, a.has_counterparts FROM public.available_tables a $$;
