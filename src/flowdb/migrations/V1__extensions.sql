-- Extensions that FlowMachine's and FlowETL's SQL calls. They live in `public`, because both call them unqualified.
CREATE EXTENSION IF NOT EXISTS postgis WITH SCHEMA public;
-- Raster statistics and viewsheds of the FlowMachine library.
CREATE EXTENSION IF NOT EXISTS postgis_raster WITH SCHEMA public;
-- uuid_generate_v4() in the library's sightlines.
CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;
-- TABLESAMPLE SYSTEM_ROWS in the library's random_sample().
CREATE EXTENSION IF NOT EXISTS tsm_system_rows WITH SCHEMA public;
-- FlowETL makes its staging tables as foreign tables on a server of exactly this name.
CREATE EXTENSION IF NOT EXISTS file_fdw WITH SCHEMA public;
CREATE SERVER csv_fdw FOREIGN DATA WRAPPER file_fdw;
