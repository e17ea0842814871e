"""Runs upstream's flowetl 1.34.0, which was written for Airflow 2, unchanged on Airflow 3.

Airflow loads what the entry points of the group ``airflow.policy`` name, in every process, while ``airflow`` itself is being imported. Ours
names ``policy``. So what it leads to may not import ``airflow`` at its top:

========== =========================================================================================
__main__   starts Airflow's processes, and before all of them ``prepare``
places     secrets as files, and what Airflow is told of them before it is imported
files      what Airflow asks for them while it runs
pulse      what a Celery worker writes down as long as it works
policy     what Airflow calls: puts ``finder`` in its place, and slows down sensors that ask too often
finder     makes modules that Airflow 3 has no more, and mends others in the moment of their import
old        those that are made: the names that DAG files written for Airflow 2 import
mended     those that are mended
========== =========================================================================================

Each part says which of upstream's uses it is there for; ``tests/it/flowetl`` has a test for each, which fails when a release of Airflow moves
the name that it leans on. Below Airflow 3 nothing is done.
"""
