-- Sites, cells and handset models. Several versions of a cell or site may exist; their service dates must not overlap,
-- or events are counted twice.
CREATE SCHEMA infrastructure;

CREATE TABLE infrastructure.sites (
    site_id bigserial PRIMARY KEY,
    id text,
    version integer,
    name text,
    type text,
    status text,
    structure_type text,
    is_cow boolean,
    date_of_first_service date,
    date_of_last_service date,
    geom_point public.geometry(Point, 4326),
    geom_polygon public.geometry(MultiPolygon, 4326),
    UNIQUE (id, version)
);
COMMENT ON COLUMN infrastructure.sites.is_cow IS 'Cell on wheels.';
CREATE INDEX infrastructure_sites_id_index ON infrastructure.sites (id);
CREATE INDEX infrastructure_sites_geom_point_index ON infrastructure.sites USING gist (geom_point);
CREATE INDEX infrastructure_sites_geom_polygon_index ON infrastructure.sites USING gist (geom_polygon);

CREATE TABLE infrastructure.cells (
    cell_id bigserial PRIMARY KEY,
    id text,
    version integer,
    site_id text,
    name text,
    type text,
    msc text,
    bsc_rnc text,
    antenna_type text,
    status text,
    lac text,
    height numeric,
    azimuth numeric,
    transmitter text,
    max_range numeric,
    min_range numeric,
    electrical_tilt numeric,
    mechanical_downtilt numeric,
    date_of_first_service date,
    date_of_last_service date,
    geom_point public.geometry(Point, 4326),
    geom_polygon public.geometry(MultiPolygon, 4326),
    UNIQUE (id, version)
);
COMMENT ON COLUMN infrastructure.cells.site_id IS 'sites.id, not sites.site_id.';
CREATE INDEX infrastructure_cells_id_index ON infrastructure.cells (id);
CREATE INDEX infrastructure_cells_site_id_index ON infrastructure.cells (site_id);
CREATE INDEX infrastructure_cells_geom_point_index ON infrastructure.cells USING gist (geom_point);
CREATE INDEX infrastructure_cells_geom_polygon_index ON infrastructure.cells USING gist (geom_polygon);

-- Type allocation codes: events.*.tac refers to id. The column names are values of FlowMachine's handset queries.
CREATE TABLE infrastructure.tacs (
    id numeric PRIMARY KEY,
    brand text,
    model text,
    width numeric,
    height numeric,
    depth numeric,
    weight numeric,
    display_type text,
    display_colors boolean,
    display_width numeric,
    display_height numeric,
    mms_receiver boolean,
    mms_built_in_camera boolean,
    wap_push_ota_support boolean,
    hardware_gprs boolean,
    hardware_edge boolean,
    hardware_umts boolean,
    hardware_wifi boolean,
    hardware_bluetooth boolean,
    hardware_gps boolean,
    software_os_vendor text,
    software_os_name text,
    software_os_version text,
    wap_push_ota_settings boolean,
    wap_push_ota_bookmarks boolean,
    wap_push_ota_app_internet boolean,
    wap_push_ota_app_browser boolean,
    wap_push_ota_app_mms boolean,
    wap_push_ota_single_shot boolean,
    wap_push_ota_multi_shot boolean,
    wap_push_oma_settings boolean,
    wap_push_oma_app_internet boolean,
    wap_push_oma_app_browser boolean,
    wap_push_oma_app_mms boolean,
    wap_push_oma_cp_bookmarks boolean,
    wap_1_2_1 boolean,
    wap_2_0 boolean,
    syncml_dm_settings boolean,
    syncml_dm_acc_gprs boolean,
    syncml_dm_app_internet boolean,
    syncml_dm_app_browser boolean,
    syncml_dm_app_mms boolean,
    syncml_dm_app_bookmark boolean,
    syncml_dm_app_java boolean,
    wap_push_oma_app_ims boolean,
    wap_push_oma_app_poc boolean,
    j2me_midp_10 boolean,
    j2me_midp_20 boolean,
    j2me_midp_21 boolean,
    j2me_cldc_10 boolean,
    j2me_cldc_11 boolean,
    j2me_cldc_20 boolean,
    hnd_type text
);
