"""The small day that ``flowkit verify`` sends through FlowETL: it fills the table and begins the run, asks, and takes all of it out again.

Begun by anybody else, for any other day, it finds no table, or no row of that day in it, and fails before it touches anything.
"""

from datetime import datetime

from airflow import DAG  # noqa: F401 (Airflow looks for DAGs only in files that have this word)

from flowetl.util import create_dag

dag = create_dag(
    dag_id="flowkit_verify",
    cdr_type="mds",
    start_date=datetime(1972, 6, 15),
    schedule_interval=None,
    retries=0,
    source_table="etl.flowkit_verify",
    staging_view_sql="SELECT * FROM {{ source_table }} WHERE datetime >= '{{ ds }}' AND datetime < '{{ tomorrow_ds }}'",
    extract_sql="SELECT * FROM {{ staging_table }}",
    data_present_timeout=60,
    flux_check_wait_interval=1,
    flux_check_timeout=300,
    indexes=["location_id", "datetime", "tac"],
    cluster_field="msisdn",
)
dag.description = "Loads the small day of `flowkit verify`, which begins it and takes the day out again. It does nothing by itself."
dag.is_paused_upon_creation = False
dag.max_active_runs = 1
# The parent has everybody's days, which nobody asked to be looked at; the task stays, as in any DAG.
dag.get_task("analyze_parent").sql = "ANALYZE {{ final_table }};"
