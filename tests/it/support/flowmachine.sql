-- A week of calls and messages of 2,000 people among 36 places of a six by six country.
CREATE TABLE geography.admin3 AS
    SELECT format('P%s%s', x, y) AS admin3pcod, format('N%s%s', x, y) AS admin3name,
        ST_Multi(ST_MakeEnvelope(x, y, x + 1, y + 1, 4326))::geometry(MultiPolygon, 4326) AS geom
    FROM generate_series(0, 5) x, generate_series(0, 5) y;
INSERT INTO infrastructure.sites (id, version, geom_point, date_of_first_service)
    SELECT 's' || i, 0, ST_SetSRID(ST_MakePoint(i % 6 + 0.5, i / 6 + 0.5), 4326), '2010-01-01' FROM generate_series(0, 35) i;
INSERT INTO infrastructure.cells (id, version, site_id, geom_point, date_of_first_service)
    SELECT 'c' || i, 0, 's' || i, ST_SetSRID(ST_MakePoint(i % 6 + 0.5, i / 6 + 0.5), 4326), '2010-01-01'
    FROM generate_series(0, 35) i;
DO $$
DECLARE
    day date;
    kind text;
    part text;
BEGIN
    FOR day IN SELECT generate_series('2016-01-01'::date, '2016-01-07', '1 day') LOOP
        FOREACH kind IN ARRAY ARRAY['calls', 'sms'] LOOP
            part := format('events.%s_%s', kind, to_char(day, 'YYYYMMDD'));
            EXECUTE format('CREATE TABLE %s PARTITION OF events.%s FOR VALUES FROM (%L) TO (%L)', part, kind, day, day + 1);
            EXECUTE format(
                'INSERT INTO %s (id, outgoing, datetime, msisdn, msisdn_counterpart, location_id)
                 SELECT i::text, i %% 2 = 0, %L::timestamptz + i * interval ''4 s'', md5((i %% 2000)::text),
                     md5((i %% 2000 + 1)::text), ''c'' || i * 7 %% 36 FROM generate_series(1, 10000) i', part, day);
            INSERT INTO etl.etl_records (cdr_type, cdr_date, state, timestamp) VALUES (kind, day, 'ingested', now());
        END LOOP;
    END LOOP;
END
$$;
INSERT INTO available_tables VALUES ('calls', true, true, true), ('sms', true, true, true)
    ON CONFLICT (table_name) DO UPDATE SET has_locations = true, has_subscribers = true, has_counterparts = true;
ANALYZE;
