-- Administrative areas, and the empty homes of rasters and road networks.
--
-- geography.admin0 ... admin3 are not made here: they come with a country's data, as tables or plain views (never
-- materialized views: FlowMachine looks tables up in information_schema, which does not list those).
CREATE SCHEMA geography;
CREATE SCHEMA population;
CREATE SCHEMA elevation;
CREATE SCHEMA routing;

CREATE TABLE geography.geo_kinds (
    geo_kind_id serial PRIMARY KEY,
    name text
);
INSERT INTO geography.geo_kinds (name) VALUES ('admin_unit');

CREATE TABLE geography.linkage_methods (
    linkage_method_id serial PRIMARY KEY,
    name text,
    meta json
);
INSERT INTO geography.linkage_methods (name) VALUES ('point_in_polygon');

CREATE TABLE geography.geoms (
    gid bigserial PRIMARY KEY,
    added_date timestamptz NOT NULL DEFAULT now(),
    short_name varchar,
    long_name text,
    geo_kind_id integer DEFAULT 1 REFERENCES geography.geo_kinds,
    spatial_resolution integer,
    additional_metadata json,
    geom public.geometry(MultiPolygon, 4326)
);
COMMENT ON TABLE geography.geoms IS
    'Areas of any kind: a source for adminN views (spatial_resolution is the level, short_name the pcode).';
CREATE INDEX geography_geom_gist ON geography.geoms USING gist (geom);
CREATE INDEX geography_geog_gist ON geography.geoms USING gist ((geom::public.geography));
CREATE INDEX geography_geo_kind_index ON geography.geoms (geo_kind_id);
CREATE INDEX geography_spatial_resolution_index ON geography.geoms (spatial_resolution);
