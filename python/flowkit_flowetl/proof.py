"""How Airflow sees that it speaks to the role's own database before it tells a password: by the certificate that the database made when it started.

Both are looked up by Airflow, by name: what is given to psycopg2, and to asyncpg.
"""

import os
import ssl

CERTIFICATE = os.environ["FLOWKIT_FLOWETL_DATABASE_CERTIFICATE"]

SYNC = {"sslmode": "verify-full", "sslrootcert": CERTIFICATE}

ASYNC = {"ssl": ssl.create_default_context(cafile=CERTIFICATE)}
