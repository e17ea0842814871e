"""Modules that Airflow 3 and flowetl have, with what flowetl and old DAG files miss in them."""

import functools
from datetime import timedelta

# Arguments of a DAG: what they are called now, and those that are gone without a trace in how it runs.
_RENAMED = {
    "schedule_interval": "schedule",
    "timetable": "schedule",
    "concurrency": "max_active_tasks",
    "fail_stop": "fail_fast",
}
_GONE = ("default_view", "orientation", "full_filepath", "sla_miss_callback")


def _dag(module):
    """``DAG`` takes the arguments of Airflow 2. The class stays the same one: others have imported it."""
    made = module.DAG.__init__

    @functools.wraps(made)
    def init(self, *args, **kwargs):
        for old, new in _RENAMED.items():
            if old in kwargs:
                value = kwargs.pop(old)
                kwargs.setdefault(new, value)
        for name in _GONE:
            kwargs.pop(name, None)
        made(self, *args, **kwargs)

    module.DAG.__init__ = init


def _models_dag(module):
    """flowetl's ``get_qa_checks`` looks there for the DAG that it is called in."""
    from airflow.sdk.definitions._internal.contextmanager import DagContext

    module.DagContext = DagContext


def _task_runner(module):
    """Templates have the dates of Airflow 2 again: flowetl's ``attach`` takes the end of a partition from ``tomorrow_ds``, and Jinja makes an
    empty text of a name that it does not know."""
    context_of = module.RuntimeTaskInstance.get_template_context

    @functools.wraps(context_of)
    def get_template_context(self):
        context = context_of(self)
        for name, value in old_dates(context).items():
            context.setdefault(name, value)
        return context

    module.RuntimeTaskInstance.get_template_context = get_template_context


def old_dates(context):
    """The dates that Airflow 2 had beside ``ds``, of a run that has a logical date."""
    day = context.get("logical_date")
    if day is None:
        return {}
    begin, end = context.get("data_interval_start") or day, context.get("data_interval_end") or day
    dates = {
        "execution_date": day,
        "next_execution_date": end,
        "prev_execution_date": day - (end - begin),
    }
    for name, date in (
        ("tomorrow", day + timedelta(days=1)),
        ("yesterday", day - timedelta(days=1)),
        ("next", dates["next_execution_date"]),
        ("prev", dates["prev_execution_date"]),
    ):
        dates[f"{name}_ds"] = date.strftime("%Y-%m-%d")
        dates[f"{name}_ds_nodash"] = date.strftime("%Y%m%d")
    return dates


def _table_names(module):
    """A run without a logical date, as a click on "Trigger" may make one, would fill a table named ``calls_None``."""
    render = module.TableNameMacrosMixin.render_template_fields

    @functools.wraps(render)
    def render_template_fields(self, context, jinja_env=None):
        if context.get("ds_nodash") is None:
            from airflow.sdk.exceptions import AirflowFailException

            raise AirflowFailException(
                "this run has no logical date, and so no day to load: trigger it with one (in the page: \"Logical date\"; `airflow dags trigger "
                "--logical-date 2016-01-01 ...`)"
            )
        render(self, context, jinja_env)

    module.TableNameMacrosMixin.render_template_fields = render_template_fields


def _dates(module):
    """``days_ago``, with which many old DAG files say where they start."""

    def days_ago(n, hour=0, minute=0, second=0, microsecond=0):
        import pendulum

        return pendulum.today("UTC").subtract(days=n).replace(hour=hour, minute=minute, second=second, microsecond=microsecond)

    module.days_ago = days_ago


def _decorators(module):
    """``apply_defaults`` did what every operator does by itself since Airflow 2.1."""
    module.apply_defaults = lambda function: function


def _celery(module):
    """A worker runs tasks of DAG files, and nothing else: a callback, as Airflow 3.3 calls it, is whatever function the message names."""
    from airflow.executors.workloads import ExecuteTask

    executor = module.BaseExecutor

    class Executor(executor):
        @staticmethod
        def run_workload(workload, **options):
            if not isinstance(workload, ExecuteTask):
                raise ValueError(f"a worker of FlowETL's runs tasks, and no {type(workload).__name__}")
            return executor.run_workload(workload, **options)

    module.BaseExecutor = Executor


def _metrics(module):
    """Flower tells the names of workers and tasks to whoever asks for them by this one page."""
    from tornado.web import authenticated

    module.Metrics.get = authenticated(module.Metrics.get)


MODULES = {
    "airflow.sdk.definitions.dag": _dag,
    "airflow.models.dag": _models_dag,
    "airflow.sdk.execution_time.task_runner": _task_runner,
    "airflow.utils.dates": _dates,
    "airflow.utils.decorators": _decorators,
    "airflow.providers.celery.executors.celery_executor_utils": _celery,
    "flower.views.monitor": _metrics,
    "flowetl.mixins.table_name_macros_mixin": _table_names,
}
