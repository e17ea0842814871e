"""What Airflow's entry point ``airflow.policy`` names. Loaded while ``airflow`` is being imported, in each of its processes."""

import sys
import warnings
from importlib.metadata import version

import pluggy

from . import mended, old
from .finder import Finder

# Seconds between two looks of a sensor that gives its place free in between. When a look ends while the scheduler is in one of its rounds, and the
# next one is queued before that round is over, Airflow 3.3 takes the task for lost and uses up one of its tries (a day apart in flowetl).
# Its rounds take seconds on a busy machine, not half a minute.
SLOW_ENOUGH = 30

hookimpl = pluggy.HookimplMarker("airflow.policy")

if int(version("apache-airflow-core").split(".")[0]) >= 3 and not any(isinstance(finder, Finder) for finder in sys.meta_path):
    sys.meta_path.insert(0, Finder(old.MODULES, mended.MODULES, old.REFUSED))
    # What ``airflow.utils`` makes by itself is there already.
    for name in mended.MODULES.keys() & sys.modules.keys():
        mended.MODULES[name](sys.modules[name])

# flowetl imports from places that Airflow 3 still redirects from: nobody who runs it can change that.
warnings.filterwarnings("ignore", module=r"flowetl\.")


@hookimpl
def task_policy(task):
    """Looks at most every half a minute."""
    if getattr(task, "mode", None) == "reschedule" and task.poke_interval < SLOW_ENOUGH:
        task.poke_interval = SLOW_ENOUGH
