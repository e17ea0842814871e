"""Where secrets are: files in the role's directory of secrets, of the names that the guide gives them.

Airflow's own settings among them (the connection to its database, keys) are asked for by ``AIRFLOW__SECTION__KEY_SECRET``, so that neither an
environment nor a command line holds them. Anything else that is there becomes a variable of this process, before Airflow reads it: what is put into
the environment of a process that runs is not seen in ``/proc``.
"""

import json
import os
import re
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
ASYNC = f"{DATABASE}_ASYNC"

# Airflow's settings that are secrets, as it names them, and the file of each.
SETTINGS = {
    DATABASE: "AIRFLOW__CORE__SQL_ALCHEMY_CONN",
    "AIRFLOW__CORE__FERNET_KEY": "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__API__SECRET_KEY": "AIRFLOW__WEBSERVER__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET": "AIRFLOW__API_AUTH__JWT_SECRET",
}

# Those of Celery, likewise.
CELERY = {
    "AIRFLOW__CELERY__BROKER_URL": "AIRFLOW__CELERY__BROKER_URL",
    "AIRFLOW__CELERY__RESULT_BACKEND": "AIRFLOW__CELERY__RESULT_BACKEND",
    "AIRFLOW__CELERY__FLOWER_BASIC_AUTH": "FLOWETL_CELERY_PASSWORD",
}

# The role's other secrets, and what Airflow is told when it asks: nobody's variables.
ASKED_FOR = re.compile(
    r"FLOWETL_(AIRFLOW_ADMIN|POSTGRES|REDIS|CELERY)_[A-Z]+|AIRFLOW__CELERY__(BROKER_URL|RESULT_BACKEND)|AIRFLOW_(CONN|VAR)_.+"
)

# Where DAG files are: the operator's, and what `flowkit verify` begins.
BUNDLES = [
    {"name": name, "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": place}
    for name, place in (("dags-folder", {}), ("flowkit", {"path": str(Path(__file__).with_name("dags"))}))
]

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def directory():
    """Where the role's secrets are."""
    return Path(os.environ["CREDENTIALS_DIRECTORY"])


def read(name):
    """The secret of that name; ``None`` where there is none."""
    try:
        return (directory() / name).read_text().strip()
    except FileNotFoundError:
        return None


def announce():
    """Tells Airflow, by its environment, what to ask for; sets the variables that are given as files."""
    os.environ["AIRFLOW__SECRETS__BACKEND"] = "flowkit_flowetl.files.Files"
    os.environ.setdefault("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(BUNDLES))
    celery = CELERY if os.environ["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor" else {}
    patient = {ASYNC: ASYNC} if database_async() else {}
    for setting, name in {**SETTINGS, **patient, **celery}.items():
        os.environ[f"{setting}_SECRET"] = name
    for file in directory().iterdir():
        known = file.name in (ASYNC, *SETTINGS.values()) or ASKED_FOR.fullmatch(file.name)
        if VARIABLE.fullmatch(file.name) and not known and file.is_file():
            os.environ[file.name] = file.read_text().rstrip("\n")


def by_scram(url):
    """The address, by which its password is proved to whoever answers there and not told. One that is not PostgreSQL's by libpq, leads to a
    socket, has no password, or says itself which ways will do, is left as it is.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if not re.match(r"(db\+)?postgres(ql)?(\+psycopg2?)?://", url) or "require_auth=" in url:
        return url
    try:
        # As who connects reads it: hosts and passwords may be behind the question mark.
        address = make_url(url)
    except (ArgumentError, ValueError):
        return url
    hosts = address.query.get("host", address.host or "")
    hosts = [host for some in ([hosts] if isinstance(hosts, str) else hosts) for host in some.split(",") if host]
    is_here = "hostaddr" not in address.query and all(host.startswith("/") for host in hosts)
    if is_here or not (address.password or address.query.get("password")):
        return url
    return f"{url}{'&' if address.query else '?'}require_auth=scram-sha-256"


def _own(place, password):
    """What is the role's own: its address, in which the password stands for ``{}``. ``None`` where it is the operator's, or not known here."""
    address, password = os.environ.get(place), read(password)
    return address.replace("{}", quote(password, safe="")) if address and password else None


def database():
    """Airflow's database: the role's own, else the operator's.

    The role's own always speaks TLS. SCRAM is bound to that connection, so that who stands in between is found out wherever it is, without a
    certificate that somebody had to bring here.
    """
    own = _own("FLOWKIT_FLOWETL_DATABASE", "FLOWETL_POSTGRES_PASSWORD")
    given = f"{own}?sslmode=require&channel_binding=require" if own else read(SETTINGS[DATABASE])
    return given and by_scram(re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", given))


def database_async():
    """The same for what asks it and does something else meanwhile: the operator's, else by the other address. By whichever driver it is written: not by asyncpg,
    which Airflow would take and which tells the password to whoever asks for it. ``None`` where it is not PostgreSQL.
    """
    theirs = read(ASYNC)
    given = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", theirs or database() or "")
    return by_scram(given) if theirs or given.startswith("postgresql+psycopg://") else None


def broker():
    """What hands tasks to Celery's workers: the role's own redis, else the operator's."""
    return _own("FLOWKIT_FLOWETL_BROKER", "FLOWETL_REDIS_PASSWORD") or read(CELERY["AIRFLOW__CELERY__BROKER_URL"])


def results():
    """Where Celery's workers say what came of their tasks: Airflow's database, else where the operator says. Who has neither reads none."""
    given = read(CELERY["AIRFLOW__CELERY__RESULT_BACKEND"]) if os.environ.get("FLOWKIT_FLOWETL_RESULTS_ELSEWHERE") else None
    if given or not database():
        return by_scram(given or "cache+memory://")
    return f"db+{database()}"


def login():
    """Whom flower lets in."""
    password = read("FLOWETL_CELERY_PASSWORD")
    return password and f"{read('FLOWETL_CELERY_USER') or 'flowetl'}:{password}"


# What Airflow is told that is not a file as it stands.
MADE = {
    SETTINGS[DATABASE]: database,
    ASYNC: database_async,
    CELERY["AIRFLOW__CELERY__BROKER_URL"]: broker,
    CELERY["AIRFLOW__CELERY__RESULT_BACKEND"]: results,
    CELERY["AIRFLOW__CELERY__FLOWER_BASIC_AUTH"]: login,
}


def connection(name):
    """The connection of that name. Where FlowDB is beside, its leads to where that is now, whatever its port was when the secret was made. Whoever
    answers there gets the password by SCRAM only, wherever it is.
    """
    given = read(f"AIRFLOW_CONN_{name.upper()}")
    place = os.environ.get("FLOWKIT_FLOWETL_FLOWDB")
    if not given or name.lower() != "flowdb":
        return given
    if place and "://" in given:
        url = urlsplit(given)
        given = urlunsplit(url._replace(netloc=f"{url.netloc.rpartition('@')[0]}@{place}"))
    return by_scram(given)
