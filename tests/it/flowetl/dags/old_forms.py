"""What people have written for Airflow 2 (and 1) beside FlowKit's own DAGs."""

from datetime import timedelta

from airflow import DAG
from airflow.hooks.base_hook import BaseHook
from airflow.hooks.postgres_hook import PostgresHook
from airflow.operators.bash import BashOperator
from airflow.operators.bash_operator import BashOperator as OldBashOperator
from airflow.operators.dagrun_operator import TriggerDagRunOperator
from airflow.operators.dummy import DummyOperator
from airflow.operators.dummy_operator import DummyOperator as OldDummyOperator
from airflow.operators.latest_only_operator import LatestOnlyOperator
from airflow.operators.postgres_operator import PostgresOperator as OldPostgresOperator
from airflow.operators.python import PythonOperator
from airflow.operators.python_operator import BranchPythonOperator
from airflow.operators.sql import SQLCheckOperator
from airflow.providers.postgres.operators.postgres import PostgresOperator
from airflow.sensors.sql import SqlSensor
from airflow.sensors.sql_sensor import SqlSensor as OldSqlSensor
from airflow.utils.dates import days_ago
from airflow.utils.decorators import apply_defaults


class Waits(SqlSensor):
    @apply_defaults
    def __init__(self, **kwargs):
        super().__init__(conn_id="flowdb", **kwargs)


with DAG(
    "old_forms",
    start_date=days_ago(3),
    schedule_interval=timedelta(days=1),
    concurrency=2,
    default_view="graph",
    orientation="LR",
    is_paused_upon_creation=True,
) as dag:
    begin = DummyOperator(task_id="begin")
    wait = Waits(task_id="wait", sql="SELECT 1", mode="reschedule", poke_interval=5)
    for number, task in enumerate(
        [
            OldDummyOperator(task_id="dummy"),
            BashOperator(task_id="bash", bash_command="true"),
            OldBashOperator(task_id="old_bash", bash_command="true"),
            PythonOperator(task_id="python", python_callable=print),
            BranchPythonOperator(task_id="branch", python_callable=print),
            LatestOnlyOperator(task_id="latest"),
            TriggerDagRunOperator(task_id="trigger", trigger_dag_id="old_forms"),
            SQLCheckOperator(task_id="check", conn_id="flowdb", sql="SELECT 1"),
            PostgresOperator(task_id="postgres", postgres_conn_id="flowdb", sql="SELECT 1", runtime_parameters={"work_mem": "4MB"}),
            OldPostgresOperator(task_id="old_postgres", postgres_conn_id="flowdb", sql="SELECT 1"),
            OldSqlSensor(task_id="sensor", conn_id="flowdb", sql="SELECT 1"),
        ]
    ):
        begin >> wait >> task

assert issubclass(PostgresHook, BaseHook)
