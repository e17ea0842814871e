"""What Airflow's database has to hold before anything else runs. Done at every start, which is how new values get in; in one process, as each
of Airflow's own commands takes seconds to load.
"""

import os
import sys
from pathlib import Path

from . import places

POOL = "postgres_etl"


class Mistake(Exception):
    """Something that the operator has to put right first."""


def everything():
    """The schema, the administrator, the pool of heavy tasks."""
    from airflow.cli import cli_parser
    from airflow.models.pool import Pool

    directories()
    parser = cli_parser.get_parser()
    # A database elsewhere may start at the same time.
    for command in ("db check --retry 60 --retry-delay 2", "db migrate"):
        arguments = parser.parse_args(command.split())
        arguments.func(arguments)
    slots = int(os.environ["FLOWETL_AIRFLOW_PG_POOL_SLOT_COUNT"])
    about = "Allows an upper bound on number of concurrent high load postgres dags."
    Pool.create_or_update_pool(POOL, slots, about, include_deferred=False)
    administrator()
    print(f"Airflow's database is up to date; administrator and pool {POOL} ({slots} slots) are in place")
    return 0


def directories():
    """Makes the directory of the DAG files where it is the role's own. One that can't be read would look like one without files."""
    dags = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    try:
        dags.mkdir(parents=True, exist_ok=True)
        next(dags.iterdir(), None)
    except OSError as error:
        raise Mistake(
            f"user {os.getuid()} can't read the DAG files in {dags}: {error.strerror}; open it to that user, or name another with FLOWETL_HOST_DAG_DIR"
        ) from None


def administrator():
    """Makes the administrator, or gives them the password that the secret holds now."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from airflow.utils.providers_configuration_loader import providers_configuration_loaded
    from werkzeug.security import check_password_hash

    @providers_configuration_loaded
    def make():
        name, password = places.read("FLOWETL_AIRFLOW_ADMIN_USERNAME") or "admin", places.read("FLOWETL_AIRFLOW_ADMIN_PASSWORD")
        with get_application_builder() as builder:
            manager = builder.sm
            user = manager.find_user(name)
            if user is None:
                first, last, email = (os.environ[f"FLOWETL_AIRFLOW_ADMIN_{part}"] for part in ("FIRSTNAME", "LASTNAME", "EMAIL"))
                user = manager.add_user(name, first, last, email, manager.find_role("Admin"), password)
            elif not check_password_hash(user.password, password):
                user = manager.reset_password(user.id, password)
        if not user:
            sys.exit(f"the administrator {name} could not be made; is FLOWETL_AIRFLOW_ADMIN_EMAIL another user's?")

    make()
