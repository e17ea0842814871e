# Made by `flowkit etl new`. Look through it, then put it into FlowETL's directory of DAGs.
#
# What was found in the sample (field, as the file calls it, examples, column of FlowDB):
#   f_datetime: "datetime"; "2016-01-01 01:00:00+00", "2016-01-01 02:00:00+00"; datetime
#   f_msisdn: "msisdn"; "a", "b"; msisdn
#   f_location_id: "location_id"; "c1", "c2"; location_id

from datetime import datetime, timedelta

from airflow import DAG  # noqa: F401 (Airflow looks for DAGs only in files that have this word)

from flowetl.util import create_dag

dag = create_dag(
    dag_id="load_calls",
    cdr_type="calls",
    # The first day that there is a file of.
    start_date=datetime(2016, 1, 1),
    schedule_interval="@daily",
    # A file that is late is tried for again every half an hour, for a week.
    retries=336,
    retry_delay=timedelta(minutes=30),
    filename="/etl/calls_{{ ds_nodash }}.csv",
    # FlowDB's server reads the fields of every line as these, of another day's too: what is not that ends the load, with the line's
    # number. Where such values come, make that field TEXT, and extract_sql say what they are: NULLIF(f_x, 'n/a')::numeric.
    fields={
        "f_datetime": "TIMESTAMPTZ",
        "f_msisdn": "TEXT",
        "f_location_id": "TEXT",
    },
    delimiter=",",
    header=True,
    extract_sql="""
        SELECT
            NULL::text AS id,
            NULL::boolean AS outgoing,
            f_datetime AS datetime,
            NULL::numeric AS duration,
            NULL::text AS network,
            f_msisdn AS msisdn,
            NULL::text AS msisdn_counterpart,
            f_location_id AS location_id,
            NULL::text AS imsi,
            NULL::text AS imei,
            NULL::numeric(8) AS tac,
            NULL::numeric AS operator_code,
            NULL::numeric AS country_code
        FROM {{ staging_table }}
        -- Rows of another day (in UTC) would make the last step fail. `flowkit etl check` names them.
        WHERE f_datetime >= '{{ ds }}' AND f_datetime < '{{ tomorrow_ds }}'
        -- By subscriber, as FlowMachine reads them. cluster_field would write the table once more for it.
        ORDER BY msisdn
    """,
    # What FlowMachine and people need; FlowETL's default names columns that not every kind has.
    indexes=["msisdn", "location_id", "datetime"],
)
# A long history is not loaded by sixteen days at once (`flowkit etl load` is faster at it).
dag.max_active_runs = 2
