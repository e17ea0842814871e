"""How Airflow sees that it speaks to its database before it tells a password: by SCRAM, and to the role's own by the certificate that the database
made when it started, where that is at hand.

Both are looked up by Airflow, by name: what is given to psycopg2, and to asyncpg, which has no option to be without other ways than SCRAM.
"""

import os
import ssl

CERTIFICATE = os.environ.get("FLOWKIT_FLOWETL_DATABASE_CERTIFICATE")

SYNC = {"require_auth": "scram-sha-256"}

ASYNC = {}

if CERTIFICATE:
    SYNC |= {"sslmode": "verify-full", "sslrootcert": CERTIFICATE}
    ASYNC |= {"ssl": ssl.create_default_context(cafile=CERTIFICATE)}
