-- What was ingested, and what the checks after it found. FlowMachine offers a day only when its latest state says so.
CREATE SCHEMA etl;

CREATE TABLE etl.etl_records (
    id serial PRIMARY KEY,
    cdr_type varchar,
    cdr_date date,
    state varchar,
    "timestamp" timestamptz
);
CREATE INDEX etl_records_latest_index ON etl.etl_records (cdr_type, cdr_date, "timestamp" DESC NULLS LAST, id DESC);

CREATE TABLE etl.post_etl_queries (
    id serial NOT NULL,
    cdr_date date,
    cdr_type text,
    type_of_query_or_check text,
    outcome text,
    optional_comment_or_description text,
    "timestamp" timestamptz
);
COMMENT ON TABLE etl.post_etl_queries IS 'Outcomes of the checks and queries that ran after each ingestion.';
CREATE INDEX post_etl_queries_latest_index
    ON etl.post_etl_queries (cdr_date, cdr_type, type_of_query_or_check, "timestamp" DESC NULLS LAST, id DESC);

CREATE VIEW etl.ingested_state AS
SELECT DISTINCT ON (cdr_type, cdr_date) cdr_type, cdr_date, state, "timestamp"
FROM etl.etl_records
ORDER BY cdr_type, cdr_date, "timestamp" DESC NULLS LAST, id DESC;

CREATE VIEW etl.available_dates AS
SELECT cdr_type, cdr_date FROM etl.ingested_state WHERE state = 'ingested';

CREATE VIEW etl.deduped_post_etl_queries AS
SELECT DISTINCT ON (check_.cdr_date, check_.cdr_type, check_.type_of_query_or_check)
    check_.cdr_date,
    check_.cdr_type,
    check_.type_of_query_or_check,
    check_.outcome,
    check_.optional_comment_or_description,
    check_."timestamp"
FROM etl.post_etl_queries check_
JOIN etl.available_dates day ON day.cdr_date = check_.cdr_date AND day.cdr_type = check_.cdr_type
ORDER BY check_.cdr_date, check_.cdr_type, check_.type_of_query_or_check, check_."timestamp" DESC NULLS LAST, check_.id DESC;
