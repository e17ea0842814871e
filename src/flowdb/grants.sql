-- Who may do what. Run by the superuser at every start, in one transaction.
--
-- flowmachine      owns stored results, reads everything
-- flowkit_reader   reads stored results and areas: FlowAPI's login and people who read are members
-- flowkit_analyst  people who use the FlowMachine library: members of flowmachine, because every store hands its table
--                  over to that role
--
-- Two rights that FlowKit's own image gives are not given here, as neither FlowMachine nor FlowAPI needs them: CREATE in
-- schema public (whoever can put a function there can have the superuser call it), and CREATE on the database for
-- FlowAPI's login. Analysts make schemas of their own instead.

REVOKE CONNECT, TEMPORARY ON DATABASE flowdb FROM PUBLIC;
GRANT CONNECT, TEMPORARY, CREATE ON DATABASE flowdb TO flowmachine;
GRANT CONNECT ON DATABASE flowdb TO flowkit_reader;
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

GRANT flowmachine TO flowkit_analyst;

GRANT USAGE ON SCHEMA cache, geography, population, elevation, events, infrastructure, etl, dfs, routing TO flowmachine;
GRANT CREATE ON SCHEMA cache, geography, population, elevation TO flowmachine;
GRANT USAGE, SELECT, UPDATE ON SEQUENCE cache.cache_touches TO flowmachine;
GRANT USAGE ON SCHEMA cache, geography, infrastructure TO flowkit_reader;
-- Without these two, every result by longitude and latitude is refused to FlowAPI when it is asked for as GeoJSON.
GRANT SELECT ON infrastructure.cells, infrastructure.sites TO flowkit_reader;

-- Tables to come. Of schema cache the reader gets those only: what is in it from the start is FlowMachine's book-keeping.
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb, flowmachine IN SCHEMA cache, geography, population, elevation
    GRANT ALL ON TABLES TO flowmachine;
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb, flowmachine IN SCHEMA cache, geography
    GRANT SELECT ON TABLES TO flowkit_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb IN SCHEMA events, infrastructure, etl, dfs, routing
    GRANT SELECT ON TABLES TO flowmachine;
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb IN SCHEMA events, infrastructure, etl, dfs, routing
    GRANT SELECT ON SEQUENCES TO flowmachine;
ALTER DEFAULT PRIVILEGES FOR ROLE flowdb IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC;

-- Tables that are there. GRANT ... ON ALL TABLES would rewrite the catalogue's row of each at every start.
DO $$
DECLARE
    rel record;
BEGIN
    FOR rel IN
        SELECT c.oid::regclass AS name
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND n.nspname IN ('cache', 'geography', 'population', 'elevation')
          AND NOT (SELECT bool_and(has_table_privilege('flowmachine', c.oid, p))
                   FROM unnest('{SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER}'::text[]) p)
    LOOP
        EXECUTE format('GRANT ALL ON %s TO flowmachine', rel.name);
    END LOOP;
    FOR rel IN
        SELECT c.oid::regclass AS name
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND n.nspname IN ('events', 'infrastructure', 'etl', 'dfs', 'routing')
          AND NOT c.relispartition -- read through their parents, by their parents' rights
          AND NOT has_table_privilege('flowmachine', c.oid, 'SELECT')
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO flowmachine', rel.name);
    END LOOP;
    FOR rel IN
        SELECT c.oid::regclass AS name
        FROM pg_class c
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND c.relnamespace = 'geography'::regnamespace
          AND NOT has_table_privilege('flowkit_reader', c.oid, 'SELECT')
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO flowkit_reader', rel.name);
    END LOOP;
    -- A table that a member of flowmachine stores gets the default rights of the member, not of flowmachine.
    FOR rel IN
        SELECT m.rolname AS name
        FROM pg_roles m
        WHERE m.rolcanlogin AND NOT m.rolsuper AND m.rolname <> 'flowmachine'
          AND pg_has_role(m.oid, 'flowmachine', 'MEMBER')
    LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA cache, geography GRANT ALL ON TABLES TO flowmachine', rel.name);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA cache, geography GRANT SELECT ON TABLES TO flowkit_reader', rel.name);
    END LOOP;
END
$$;
