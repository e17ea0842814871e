"""Stopping at once.

Upstream's handler of SIGTERM runs in the event loop, which may itself wait for a connection for ever, and Python joins
all threads before it ends, which may run SQL for hours. Here a thread of its own takes the signal and ends the process.
What the queries had reached in redis is put right before the next start (`flowkit step flowmachine-repair`).
"""

import os
import signal
import sys
import threading
import weakref

# How long the database is given to hear that the running statements are off. It rolls them back anyway once it notices
# that we are gone, but may notice late.
CANCEL_SECONDS = 2

_connections = weakref.WeakSet()
_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def on_sigterm():
    """Ends the process with status 0 at SIGTERM or SIGINT. To be called before any other thread exists."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    threading.Thread(target=_wait, name="stop", daemon=True).start()


def leave(status):
    """Ends the process without waiting for threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _wait():
    signal.sigwait(_SIGNALS)
    cancel = threading.Thread(target=_cancel_statements, daemon=True)
    cancel.start()
    cancel.join(CANCEL_SECONDS)
    leave(0)


def watch(connection):
    """Remembers a database connection (psycopg2's), to cancel what it runs when we stop."""
    _connections.add(connection)


def _cancel_statements():
    for connection in list(_connections):
        try:
            connection.cancel()
        except Exception:  # closed, or the database is away: nothing runs there for us
            pass
