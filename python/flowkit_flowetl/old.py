"""Modules of Airflow 2 that Airflow 3 has no more, as far as flowetl and the DAG files that people wrote for upstream's image import them."""

import importlib

_STANDARD = "airflow.providers.standard.operators"

# Module, and what it had: where each name is now.
_MOVED = {
    "airflow.operators.dummy": {"DummyOperator": f"{_STANDARD}.empty:EmptyOperator"},
    "airflow.operators.dummy_operator": {"DummyOperator": f"{_STANDARD}.empty:EmptyOperator"},
    "airflow.operators.python_operator": {
        name: f"{_STANDARD}.python:{name}"
        for name in ("PythonOperator", "BranchPythonOperator", "ShortCircuitOperator", "PythonVirtualenvOperator")
    },
    "airflow.operators.bash_operator": {"BashOperator": f"{_STANDARD}.bash:BashOperator"},
    "airflow.operators.latest_only_operator": {"LatestOnlyOperator": f"{_STANDARD}.latest_only:LatestOnlyOperator"},
    "airflow.operators.dagrun_operator": {"TriggerDagRunOperator": f"{_STANDARD}.trigger_dagrun:TriggerDagRunOperator"},
    "airflow.operators.sql": {
        name: f"airflow.providers.common.sql.operators.sql:{name}"
        for name in ("BranchSQLOperator", "SQLCheckOperator", "SQLIntervalCheckOperator", "SQLThresholdCheckOperator", "SQLValueCheckOperator")
    },
    "airflow.hooks.base_hook": {"BaseHook": "airflow.sdk:BaseHook"},
    "airflow.hooks.dbapi": {"DbApiHook": "airflow.providers.common.sql.hooks.sql:DbApiHook"},
    "airflow.hooks.postgres_hook": {"PostgresHook": "airflow.providers.postgres.hooks.postgres:PostgresHook"},
    "airflow.datasets": {"Dataset": "airflow.sdk:Asset", "DatasetAlias": "airflow.sdk:AssetAlias"},
}


def _moved(names):
    def fill(module):
        for name, now in names.items():
            where, of = now.split(":")
            setattr(module, name, getattr(importlib.import_module(where), of))

    return fill


def _sql_sensor(module):
    """``SqlSensor``, the base of all of flowetl's sensors.

    Two of them send several statements in one text and look at the answer to the last one, which is what psycopg 2 gives. The cursor of psycopg 3
    stands at the first one's answer, so that the sensor would never see what it waits for.
    """
    from airflow.providers.common.sql.sensors.sql import SqlSensor as Now

    class SqlSensor(Now):
        def _get_hook(self):
            hook = super()._get_hook()
            hook.get_records = lambda sql, parameters=None, **_: hook.run(sql, parameters=parameters, handler=_last)
            return hook

    SqlSensor.__module__ = module.__name__
    module.SqlSensor = SqlSensor


def _last(cursor):
    """The rows of the last of several statements. Psycopg 2 has forgotten the others."""
    from psycopg import Cursor

    while isinstance(cursor, Cursor) and cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description is not None else []


def _postgres_operator(module):
    """The provider's own operator went; a connection had another argument."""
    from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

    class PostgresOperator(SQLExecuteQueryOperator):
        def __init__(self, *, postgres_conn_id="postgres_default", runtime_parameters=None, **kwargs):
            if runtime_parameters:
                options = " ".join(f"-c {name}={value}" for name, value in runtime_parameters.items())
                kwargs["hook_params"] = {"options": options, **kwargs.get("hook_params", {})}
            super().__init__(conn_id=postgres_conn_id, **kwargs)

    PostgresOperator.__module__ = module.__name__
    module.PostgresOperator = PostgresOperator


MODULES = {
    **{module: _moved(names) for module, names in _MOVED.items()},
    "airflow.sensors.sql": _sql_sensor,
    "airflow.sensors.sql_sensor": _sql_sensor,
    "airflow.providers.postgres.operators": None,
    "airflow.providers.postgres.operators.postgres": _postgres_operator,
    "airflow.operators.postgres_operator": _postgres_operator,
}

# What nothing stands for, and what to do. An import of it fails with these words, which Airflow shows beside the DAG file's name.
REFUSED = {
    "airflow.contrib": "airflow.contrib was removed in Airflow 2: what was in it is in packages named apache-airflow-providers-*",
    "airflow.operators.subdag": "SubDagOperator was removed in Airflow 3: use a TaskGroup (from airflow.sdk import TaskGroup)",
    "airflow.operators.subdag_operator": "SubDagOperator was removed in Airflow 3: use a TaskGroup (from airflow.sdk import TaskGroup)",
    "airflow.www": "Airflow 3 has no Flask pages any more: a plugin gives it a FastAPI application instead",
}
