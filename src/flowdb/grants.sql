-- Who may do what. Run by the superuser at every start, in one transaction.
--
-- flowmachine        owns stored results, reads everything; FlowMachine's login is a member
-- flowkit_reader     reads stored results and areas: FlowAPI's login and people who read are members
-- flowkit_analyst    people who use the FlowMachine library: members of flowmachine, because every store hands its table
--                    over to that role. Whatever flowmachine may do, people may
-- flowkit_functions  owns the cache's book-keeping and the functions that run with their owner's rights
-- flowkit_sessions   owns the functions that end sessions; a member of every login
-- flowkit_departed   owns what removed people leave behind; it may do nothing
-- flowkit_monitor    the login of the readiness probe: it may connect to the empty database `postgres`, and no more
--
-- Neither flowmachine, unless FLOWMACHINE_FLOWDB_USER says so, nor the three before the last log in anywhere. No function runs with the superuser's rights, and nobody else can have one run in the
-- superuser's hands: by a trigger on a table that the superuser writes, by an object in a schema that it looks into.
--
-- Two rights that FlowKit's own image gives are not given here, as neither FlowMachine nor FlowAPI needs them: CREATE in
-- schema public (whoever can put a function there can have the superuser call it), and CREATE on the database for
-- FlowAPI's login. Analysts make schemas of their own instead. A third, TRUNCATE, is what FlowMachine's reset_cache() asks
-- for when it is told to forget tables outside of the cache, too: that is left to the superuser.

REVOKE CONNECT, TEMPORARY ON DATABASE flowdb FROM PUBLIC;
GRANT CONNECT, TEMPORARY, CREATE ON DATABASE flowdb TO flowmachine;
GRANT CONNECT ON DATABASE flowdb TO flowkit_reader;
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO flowkit_monitor;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

GRANT flowmachine TO flowkit_analyst;

GRANT USAGE ON SCHEMA cache, geography, population, elevation, events, infrastructure, etl, dfs, routing TO flowmachine;
GRANT CREATE ON SCHEMA cache, geography, population, elevation TO flowmachine;
GRANT USAGE ON SCHEMA cache, geography, infrastructure TO flowkit_reader;
-- Without these two, every result by longitude and latitude is refused to FlowAPI when it is asked for as GeoJSON.
GRANT SELECT ON infrastructure.cells, infrastructure.sites TO flowkit_reader;

-- What the functions need that run with their owner's rights; which queries run is in other people's sessions.
GRANT USAGE ON SCHEMA cache, flowkit TO flowkit_functions;
GRANT SELECT ON public.flowdb_version, public.location_table, public.available_tables, cache.cache_config
    TO flowkit_functions;
GRANT SELECT, UPDATE ON flowkit.cache_origin TO flowkit_functions;
GRANT USAGE ON SEQUENCE cache.cache_touches TO flowkit_functions;
GRANT pg_read_all_stats TO flowkit_functions;

-- FlowMachine's book-keeping. A row is what it was written as: obj is unpickled, and results are removed by the rest.
-- reset_cache() sets the counter.
REVOKE UPDATE ON cache.cached, cache.dependencies FROM flowmachine;
GRANT SELECT, INSERT, DELETE, UPDATE (last_accessed, access_count) ON cache.cached TO flowmachine;
GRANT SELECT, INSERT, DELETE ON cache.dependencies TO flowmachine;
REVOKE INSERT, DELETE ON cache.cache_config FROM flowmachine;
GRANT SELECT, UPDATE ON cache.cache_config TO flowmachine;
GRANT USAGE, SELECT, UPDATE ON SEQUENCE cache.cache_touches TO flowmachine;

REVOKE EXECUTE ON FUNCTION pg_terminate_backend(integer, bigint), pg_cancel_backend(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_terminate_backend(integer, bigint) TO flowkit_sessions;
-- Large objects are a place to write without a right to any schema or table; nothing of FlowKit has a use for them.
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION touch_cache(text), cache.running_queries(), cache.end_sessions(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION touch_cache(text), cache.running_queries(), cache.end_sessions(text) TO flowmachine;
REVOKE EXECUTE ON FUNCTION cache.figures() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cache.figures() TO flowkit_reader;

-- Tables to come. Of schema cache the reader gets those only: what is in it from the start is FlowMachine's book-keeping.
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb, flowmachine IN SCHEMA cache, geography, population, elevation
    REVOKE ALL ON TABLES FROM flowmachine;
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb, flowmachine IN SCHEMA cache, geography, population, elevation
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO flowmachine;
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb, flowmachine IN SCHEMA cache, geography
    GRANT SELECT ON TABLES TO flowkit_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb IN SCHEMA events, infrastructure, etl, dfs, routing
    GRANT SELECT ON TABLES TO flowmachine;
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb IN SCHEMA events, infrastructure, etl, dfs, routing
    GRANT SELECT ON SEQUENCES TO flowmachine;
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC;

DO $$
DECLARE
    rel record;
    definers constant text[] := '{public.available_tables, public.cache_half_life, public.cache_max_size,
        public.cache_protected_period, public.cache_score, public.flowdb_version, public.location_table,
        public.table_size, public.touch_cache, cache.figures, cache.running_queries}';
    ours constant text[] := '{public, flowkit, cache, geography, population, elevation, events, infrastructure, etl, dfs, routing}';
BEGIN
    -- The functions that run with their owner's rights. One of the superuser's that is none of ours was made by an analyst
    -- who left, before those who leave had a role to leave things to.
    FOR rel IN
        SELECT p.oid::regprocedure AS name, CASE
                WHEN n.nspname || '.' || p.proname IN ('cache.end_sessions', 'public.close_all_connections') THEN 'flowkit_sessions'
                WHEN n.nspname || '.' || p.proname = ANY (definers) THEN 'flowkit_functions'
                ELSE 'flowkit_departed' END AS owner
        FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_roles o ON o.oid = p.proowner
        WHERE p.prosecdef AND o.rolsuper
          AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
    LOOP
        IF rel.owner = 'flowkit_departed' THEN
            RAISE WARNING 'function % ran with the superuser''s rights and is not flowkit''s: it belongs to flowkit_departed now, which has none', rel.name;
        END IF;
        EXECUTE format('ALTER ROUTINE %s OWNER TO %I', rel.name, rel.owner);
    END LOOP;
    -- PostGIS has a few, from a time when statistics could only be read that way. The caller's own rights do.
    FOR rel IN
        SELECT p.oid::regprocedure AS name
        FROM pg_proc p
        JOIN pg_roles o ON o.oid = p.proowner
        WHERE p.prosecdef AND o.rolsuper
    LOOP
        EXECUTE format('ALTER ROUTINE %s SECURITY INVOKER', rel.name);
    END LOOP;
    -- Removing a row of cache.cached removes others with the rights of the owner of their table.
    FOR rel IN
        SELECT c.oid::regclass AS name
        FROM pg_class c
        JOIN pg_roles o ON o.oid = c.relowner
        WHERE c.oid IN ('cache.cached'::regclass, 'cache.dependencies'::regclass) AND o.rolname <> 'flowkit_functions'
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO flowkit_functions', rel.name);
    END LOOP;
    -- Triggers of others on our tables, from the time when people could make them.
    FOR rel IN
        SELECT quote_ident(t.tgname) AS name, c.oid::regclass AS "table"
        FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_roles o ON o.oid = c.relowner
        JOIN pg_proc f ON f.oid = t.tgfoid
        JOIN pg_roles fo ON fo.oid = f.proowner
        WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND c.relnamespace = ANY (ours::regnamespace[])
          AND (o.rolsuper OR o.rolname = 'flowkit_functions')
          AND (NOT fo.rolsuper OR f.pronamespace NOT IN ('public'::regnamespace, 'flowkit'::regnamespace, 'pg_catalog'::regnamespace))
    LOOP
        RAISE WARNING 'trigger % on % is removed: its function is not the superuser''s', rel.name, rel."table";
        EXECUTE format('DROP TRIGGER %s ON %s', rel.name, rel."table");
    END LOOP;
    -- Rights to somebody else's table that are ways into the hands of those who write it (TRIGGER), or ways to lock it
    -- (the others; MAINTAIN is there from PostgreSQL 17 on).
    FOR rel IN
        SELECT DISTINCT c.oid::regclass AS name, a.privilege_type AS right,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS who
        FROM pg_class c
        JOIN pg_roles o ON o.oid = c.relowner
        CROSS JOIN LATERAL aclexplode(c.relacl) a
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (o.rolsuper OR o.rolname = 'flowkit_functions')
          AND a.privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN')
          AND a.grantee NOT IN (SELECT oid FROM pg_roles WHERE rolsuper OR rolname = 'flowkit_functions')
    LOOP
        EXECUTE format('REVOKE %s ON %s FROM %s', rel.right, rel.name, rel.who);
    END LOOP;
    -- Tables that are there. GRANT ... ON ALL TABLES would rewrite the catalogue's row of each at every start.
    FOR rel IN
        SELECT c.oid::regclass AS name, wanted.who, wanted.rights
        FROM (VALUES
                ('flowmachine', 'SELECT, INSERT, UPDATE, DELETE', '{cache, geography, population, elevation}'::regnamespace[]),
                ('flowmachine', 'SELECT', '{events, infrastructure, etl, dfs, routing}'),
                ('flowkit_reader', 'SELECT', '{geography}')
            ) AS wanted (who, rights, schemas)
        JOIN pg_class c ON c.relnamespace = ANY (wanted.schemas)
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND NOT c.relispartition -- read through their parents, by their parents' rights
          AND c.oid NOT IN ('cache.cached'::regclass, 'cache.dependencies'::regclass, 'cache.cache_config'::regclass)
          AND NOT (SELECT bool_and(has_table_privilege(wanted.who, c.oid, p)) FROM regexp_split_to_table(wanted.rights, ', ') p)
    LOOP
        EXECUTE format('GRANT %s ON %s TO %I', rel.rights, rel.name, rel.who);
    END LOOP;
    -- A table that a member of flowmachine stores gets the default rights of the member, not of flowmachine.
    FOR rel IN
        SELECT m.rolname AS name
        FROM pg_roles m
        WHERE m.rolcanlogin AND NOT m.rolsuper AND m.rolname <> 'flowmachine'
          AND pg_has_role(m.oid, 'flowmachine', 'MEMBER')
    LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA cache, geography REVOKE ALL ON TABLES FROM flowmachine', rel.name);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA cache, geography GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO flowmachine', rel.name);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA cache, geography GRANT SELECT ON TABLES TO flowkit_reader', rel.name);
    END LOOP;
    -- What one person may take. FlowAPI's login has a comment; people have none.
    FOR rel IN
        SELECT m.rolname AS name, g.rolconnlimit AS connections, s.statement_timeout
        FROM pg_auth_members am
        JOIN pg_roles g ON g.oid = am.roleid
        JOIN pg_roles m ON m.oid = am.member
        CROSS JOIN LATERAL (
            SELECT coalesce(max(split_part(c, '=', 2)), '0') AS statement_timeout
            FROM unnest(g.rolconfig) c WHERE c LIKE 'statement\_timeout=%') s
        WHERE g.rolname IN ('flowkit_analyst', 'flowkit_reader') AND m.rolcanlogin AND NOT m.rolsuper
          AND shobj_description(m.oid, 'pg_authid') IS NULL
          AND (m.rolconnlimit <> g.rolconnlimit
               OR NOT coalesce(m.rolconfig && ARRAY['statement_timeout=' || s.statement_timeout], false))
    LOOP
        EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', rel.name, rel.connections);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', rel.name, rel.statement_timeout);
    END LOOP;
    -- Sessions are ended by a member of the role whose they are.
    FOR rel IN
        SELECT m.rolname AS name
        FROM pg_roles m
        WHERE m.rolcanlogin AND NOT m.rolsuper AND NOT pg_has_role('flowkit_sessions', m.oid, 'MEMBER')
    LOOP
        EXECUTE format('GRANT %I TO flowkit_sessions', rel.name);
    END LOOP;
END
$$;
