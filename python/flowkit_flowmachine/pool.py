"""The threads that run queries.

flowmachine stores results in a pool of DB_CONNECTION_POOL_SIZE threads. A query on a random sample stores what it
samples from in the same pool and waits for that. When as many such queries run as there are threads, all wait for work
that no thread is left to do, for ever.

Here a thread of the pool that waits for work which nobody has begun does that work itself. Queries depend on each other
without circles, so someone can always go on, at any size of the pool.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

_this_thread = threading.local()


class Task(Future):
    """A call that is made once, by whoever comes first: a thread of the pool, or one of its threads that waits for it."""

    def __init__(self, call):
        super().__init__()
        self._call = call
        self._taken = threading.Lock()

    def run(self):
        if not self._taken.acquire(blocking=False):
            return
        # The call keeps results alive; it is not needed again.
        call, self._call = self._call, None
        if not self.set_running_or_notify_cancel():
            return
        try:
            result = call()
        except BaseException as error:  # as ThreadPoolExecutor does: the one who asks for the result gets it
            self.set_exception(error)
        else:
            self.set_result(result)

    def result(self, timeout=None):
        if timeout is None and getattr(_this_thread, "in_pool", False):
            self.run()
        return super().result(timeout)


class HelpingExecutor(ThreadPoolExecutor):
    """A thread pool whose threads help out instead of waiting."""

    def submit(self, fn, /, *args, **kwargs):
        task = Task(lambda: fn(*args, **kwargs))
        super().submit(_run_in_pool, task)
        return task


def _run_in_pool(task):
    _this_thread.in_pool = True
    task.run()


def help_while_waiting():
    """Makes flowmachine run queries in such a pool. Replaces ``ThreadPoolExecutor`` as flowmachine.core.init sees it."""
    from flowmachine.core import init

    init.ThreadPoolExecutor = HelpingExecutor
