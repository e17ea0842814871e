-- Ending sessions. FlowMachine's are those of a role that every analyst is a member of, and PostgreSQL lets members end
-- them; so nobody but the superuser may call pg_terminate_backend() itself (grants.sql), and these end what is the
-- caller's own: that of the login, whatever role is taken on.

-- For FlowMachine's repair: the sessions of a dead server.
CREATE FUNCTION cache.end_sessions(application text) RETURNS bigint
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(*) FILTER (WHERE pg_terminate_backend(a.pid))
    FROM pg_stat_activity a
    WHERE a.usename = session_user AND a.datname = current_database() AND a.application_name = end_sessions.application
        AND a.pid <> pg_backend_pid()
$$;

CREATE FUNCTION public.close_all_connections() RETURNS TABLE (closed_connections bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(*) FILTER (WHERE pg_terminate_backend(a.pid))
    FROM pg_stat_activity a
    WHERE a.usename = session_user AND a.datname = current_database() AND a.pid <> pg_backend_pid()
$$;
COMMENT ON FUNCTION public.close_all_connections() IS 'Ends the other sessions of the login that calls it.';
