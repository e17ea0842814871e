-- What was recorded without a time counts as the latest, as in FlowKit's own FlowDB: a day that somebody withdraws by hand
-- is withdrawn.
CREATE OR REPLACE VIEW etl.ingested_state AS
SELECT DISTINCT ON (cdr_type, cdr_date) cdr_type, cdr_date, state, "timestamp"
FROM etl.etl_records
ORDER BY cdr_type, cdr_date, "timestamp" DESC NULLS FIRST, id DESC;

CREATE OR REPLACE VIEW etl.deduped_post_etl_queries AS
SELECT DISTINCT ON (check_.cdr_date, check_.cdr_type, check_.type_of_query_or_check)
    check_.cdr_date,
    check_.cdr_type,
    check_.type_of_query_or_check,
    check_.outcome,
    check_.optional_comment_or_description,
    check_."timestamp"
FROM etl.post_etl_queries check_
JOIN etl.available_dates day ON day.cdr_date = check_.cdr_date AND day.cdr_type = check_.cdr_type
ORDER BY check_.cdr_date, check_.cdr_type, check_.type_of_query_or_check, check_."timestamp" DESC NULLS FIRST,
    check_.id DESC;

DROP INDEX etl.etl_records_latest_index, etl.post_etl_queries_latest_index;
CREATE INDEX etl_records_latest_index ON etl.etl_records (cdr_type, cdr_date, "timestamp" DESC NULLS FIRST, id DESC);
CREATE INDEX post_etl_queries_latest_index
    ON etl.post_etl_queries (cdr_date, cdr_type, type_of_query_or_check, "timestamp" DESC NULLS FIRST, id DESC);
