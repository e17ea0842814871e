"""Reads DAG files as Airflow's dag-processor does, and says what it made of them; and what our module mends that no DAG file shows."""

import asyncio
import json
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path

from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
dags = {
    name: {"tasks": sorted(dag.task_ids), "max_active_tasks": dag.max_active_tasks}
    for name, dag in bag.dags.items()
}
wait = bag.dags["old_forms"].get_task("wait") if "old_forms" in bag.dags else None


def of_a_run_without_a_day():
    """What the first task of flowetl's says to it."""
    task = bag.dags["mds_table_dag"].get_task("create_staging_view")
    try:
        task.render_template_fields({"ds_nodash": None, "ds": None})
    except Exception as refused:
        return f"{type(refused).__name__}: {refused}"


def of_dates():
    """The dates of Airflow 2 in the templates of a task."""
    import pendulum
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from flowkit_flowetl.mended import old_dates

    assert hasattr(RuntimeTaskInstance.get_template_context, "__wrapped__"), "it is not mended"
    day = pendulum.datetime(2016, 3, 1)
    return old_dates({"logical_date": day, "data_interval_start": day, "data_interval_end": day.add(days=1)})


def of_a_callback():
    """What a worker says to a message that names a function, as whoever has the broker's password may send one."""
    from airflow.providers.celery.executors import celery_executor_utils

    try:
        celery_executor_utils.BaseExecutor.run_workload(object())
    except ValueError as refused:
        return str(refused)


def of_flower():
    """Whether it asks for a login before it shows its figures."""
    from flower.views.monitor import Metrics

    return hasattr(Metrics.get, "__wrapped__")


def of_addresses():
    """Which of them demand that a password is proved and not told."""
    from flowkit_flowetl.places import by_scram

    given = (
        "postgres://flowdb:word@db:9000/flowdb",
        "db+postgresql+psycopg2://flowetl:word@db/flowetl?sslmode=require",
        "postgresql://flowetl:word@db/flowetl?require_auth=md5",
        "postgresql://flowetl:word@/flowetl?host=/run/postgresql",
        "postgresql://flowetl@db/flowetl",
        "mysql://flowetl:word@db/flowetl",
        "postgresql://flowetl:word@/flowetl?host=db&port=9000",
        "postgresql://flowetl:word@/flowetl?host=/run/postgresql&host=db",
        "postgresql://flowetl:w/or#d@db/flowetl",
        "postgresql://flowetl@db/flowetl?password=word",
        "postgresql://flowetl:word@/flowetl?hostaddr=192.0.2.1",
    )
    return [by_scram(url).removeprefix(url) for url in given]


def of_an_impostor():
    """Which ways to Airflow's database tell their password to one who asks for it in clear: the role's own and an operator's, each asked in both
    ways; and one that is allowed to."""
    from flowkit_flowetl import places
    from sqlalchemy import create_engine
    from sqlalchemy.ext.asyncio import create_async_engine

    listener, secrets, heard = socket.create_server(("127.0.0.1", 0)), Path(tempfile.mkdtemp()), []

    def listen():
        while True:
            with listener.accept()[0] as peer:
                # No TLS; then the password, please. Who has told it would go on telling it.
                while data := peer.recv(4096):
                    heard.append(data)
                    if data.startswith(b"p"):
                        break
                    peer.sendall(b"N" if len(data) == 8 else b"R\0\0\0\x08\0\0\0\x03")

    async def ask(url):
        async with create_async_engine(url).connect():
            pass

    def is_told(asked):
        heard.clear()
        try:
            asked()
        except Exception:
            return any(b"tell-nobody" in data for data in heard)

    threading.Thread(target=listen, daemon=True).start()
    place = f"127.0.0.1:{listener.getsockname()[1]}"
    os.environ["CREDENTIALS_DIRECTORY"] = str(secrets)
    (secrets / "FLOWETL_POSTGRES_PASSWORD").write_text("tell-nobody")
    (secrets / "AIRFLOW__CORE__SQL_ALCHEMY_CONN").write_text(f"postgres://airflow:tell-nobody@{place}/airflow")
    told = []
    for own, ways in ((f"postgresql+psycopg2://flowetl:{{}}@{place}/flowetl", "scram-sha-256"), ("", "scram-sha-256"), ("", "password")):
        os.environ["FLOWKIT_FLOWETL_DATABASE"] = own
        one, other = (url.replace("scram-sha-256", ways) for url in (places.database(), places.database_async()))
        told.append(is_told(lambda: create_engine(one).connect()))
        told.append(is_told(lambda: asyncio.run(ask(other))))
    return told


def of_another_way():
    """Where those ask Airflow's database who do something else meanwhile: as the operator says, by one driver however it is
    written, and as no variable."""
    from flowkit_flowetl import places

    secrets = Path(os.environ["CREDENTIALS_DIRECTORY"])
    os.environ["AIRFLOW__CORE__EXECUTOR"] = "LocalExecutor"
    asked = set()
    for driver in ("postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg_async", "postgresql+asyncpg"):
        (secrets / places.ASYNC).write_text(f"{driver}://airflow:word@pooler/airflow\n")
        places.announce()
        asked.add(places.MADE[os.environ[f"{places.ASYNC}_SECRET"]]())
    return [*asked, os.environ.get(places.ASYNC)]


print(
    json.dumps(
        {
            "dags": dags,
            "errors": {path.rpartition("/")[2]: text.strip().splitlines()[-1] for path, text in bag.import_errors.items()},
            "poke_interval": wait and wait.poke_interval,
            "without_a_day": of_a_run_without_a_day(),
            "callback": of_a_callback(),
            "flower": of_flower(),
            "addresses": of_addresses(),
            "told": of_an_impostor(),
            "dates": {name: str(date) for name, date in of_dates().items()},
            "another_way": of_another_way(),
        }
    )
)
