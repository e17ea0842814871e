"""A DAG of a table, as upstream's guide has it: a module of `airflow` that it does not use is imported so that the file is looked at."""

from airflow import DAG
from flowetl.util import create_dag
from pendulum import parse

dag = create_dag(
    dag_id="mds_table_dag",
    cdr_type="mds",
    start_date=parse("2016-03-01"),
    end_date=parse("2016-03-02"),
    staging_view_sql="SELECT * FROM {{ source_table }} WHERE event_time::date = '{{ ds }}'",
    extract_sql="SELECT * FROM {{ staging_table }}",
    source_table="somewhere",
    indexes=["msisdn", "location_id", "datetime", "tac"],
    schedule_interval="0 0 * * *",
)
