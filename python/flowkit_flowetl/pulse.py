"""What a Celery worker writes down as long as it works: its process and the time, every few seconds, out of the event loop that hands tasks to its
processes, and only while it is connected with its broker.
"""

import os
import time
from pathlib import Path

EVERY = 5

FILE = Path(os.environ["FLOWKIT_FLOWETL_PULSE"])


def beat():
    """Writes it whole or not at all."""
    new = FILE.with_suffix(".new")
    new.write_text(f"{os.getpid()} {time.monotonic():.3f}\n")
    new.replace(FILE)


def begin():
    """Makes every worker that starts in this process do so."""
    from celery import bootsteps, signals
    from celery.worker.consumer import Tasks

    class Pulse(bootsteps.StartStopStep):
        """Begins when tasks are taken, which is after the connection, and ends with it."""

        requires = (Tasks,)

        def __init__(self, consumer, **kwargs):
            super().__init__(consumer, **kwargs)
            self.timer = None

        def start(self, consumer):
            beat()
            self.timer = consumer.timer.call_repeatedly(EVERY, beat)

        def stop(self, consumer):
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None
            FILE.unlink(missing_ok=True)

    @signals.celeryd_init.connect(weak=False)
    def add(instance=None, **_):
        instance.app.steps["consumer"].add(Pulse)
