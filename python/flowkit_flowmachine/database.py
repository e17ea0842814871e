"""How flowmachine connects to FlowDB."""

import os
from urllib.parse import quote

from . import stop


def identify(application):
    """Sets the application name of every session, and makes lost connections harmless.

    The name tells the server's sessions from the cache cleaner's and from those of people who use the library
    ("flowmachine", or "flowmachine-LOGIN"): after a crash the repair ends those of the dead server only.

    A connection that was cut while it lay in the pool (a database restart, a firewall) is replaced when it is taken,
    for one round trip each time; without, each costs one failed request.

    The password is never sent: whoever answers may ask for SCRAM only, and must know its verifier. FLOWKIT_FLOWDB_ADDRESS is
    where to connect when the host's name says less, and only schema ``public`` is looked into for what is not qualified.

    Replaces ``create_engine`` and ``urlquote`` as flowmachine.core.connection sees them.
    """
    import sqlalchemy
    from flowmachine.core import connection

    make = sqlalchemy.create_engine
    # The cleaner makes room, also where FlowDB lets nobody write for want of it.
    writes = " -c default_transaction_read_only=off" if application == "flowkit-cache-cleanup" else ""
    arguments = {
        "application_name": application,
        "require_auth": "scram-sha-256",
        "options": f"-c search_path=public{writes}",
    }
    address = os.environ.get("FLOWKIT_FLOWDB_ADDRESS")
    if address:
        arguments["hostaddr"] = address

    def create_engine(url, **options):
        options["connect_args"] = {**options.get("connect_args", {}), **arguments}
        engine = make(url, pool_pre_ping=True, **options)
        sqlalchemy.event.listen(engine, "connect", lambda session, _record: stop.watch(session))
        return engine

    class Sqlalchemy:
        """The module as connection.py uses it, with our create_engine."""

        def __getattr__(self, name):
            return create_engine if name == "create_engine" else getattr(sqlalchemy, name)

    connection.sqlalchemy = Sqlalchemy()
    # Upstream's quote_plus turns a space of the password into "+", which SQLAlchemy does not turn back.
    connection.urlquote = lambda password: quote(password, safe="")


# How long a day that was just ingested may be refused with "No data for date".
DAYS_SECONDS = 5


def notice_new_days():
    """Makes the server look every few seconds which days are ingested.

    Upstream's looks every two minutes, and at its start: queries over what was loaded meanwhile are refused. Reading the
    list of days takes milliseconds.

    Replaces the cache of ``Connection._available_dates``.
    """
    from cachetools import TTLCache, cached
    from flowmachine.core.connection import Connection

    Connection._available_dates = cached(TTLCache(1, DAYS_SECONDS))(Connection._available_dates.__wrapped__)
