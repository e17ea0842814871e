"""A notebook, run by papermill in a kernel that others on the machine can't listen to."""

import os
import shutil
import tempfile

import papermill.iorw
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from traitlets import default
from traitlets.config import Config

from . import Died, Mistake, files

# What IPython runs before the notebook.
STARTUP = """\
import flowkit_notebooks.kernel
del flowkit_notebooks
"""


def execute(notebook, output, parameters):
    """Runs a notebook and writes it with what it put out, after each cell."""
    output = os.path.abspath(output)
    nb = files.read(notebook)
    kernel = nb.metadata.get("kernelspec", {}).get("name")
    if not kernel:
        raise Mistake("it names no kernel: its metadata lacks kernelspec.name, as in \"python3\"")
    if kernel != NATIVE_KERNEL_NAME:
        # Also where it is installed: what holds a notebook back begins with our Python's kernel.
        raise Mistake(f"it asks for the kernel {kernel!r}, and none but python3 is run here: choose that one and save it")
    # Short: the paths of sockets begin with it.
    home = tempfile.mkdtemp(prefix="nb-")
    try:
        environment(home)
        engine = type("Engine", (Engine,), {"client": None})
        papermill_engines.register("flowkit", engine)
        papermill.iorw.papermill_io.register("/", Whole())
        papermill.execute_notebook(
            nb, braced(output), parameters, engine_name="flowkit", language="python", progress_bar=False, config=connection(home)
        )
    except PapermillExecutionError as error:
        raise Mistake(f"In [{error.exec_count}]: {error.ename}: {error.evalue}") from None
    except DeadKernelError:
        raise Died(f"In [{engine.client.at}]: the kernel died") from None
    finally:
        shutil.rmtree(home, ignore_errors=True)


def environment(home):
    """What the kernel and its libraries keep in files goes with the notebook, whoever runs it."""
    startup = os.path.join(home, "ipython/profile_default/startup")
    os.makedirs(startup)
    with open(os.path.join(startup, "00.py"), "w") as file:
        file.write(STARTUP)
    os.environ.update(
        IPYTHONDIR=os.path.join(home, "ipython"), JUPYTER_RUNTIME_DIR=os.path.join(home, "jupyter"),
        JUPYTER_CONFIG_DIR=os.path.join(home, "config"), JUPYTER_PREFER_ENV_PATH="1",
    )
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(home, "matplotlib"))


def connection(home):
    """Sockets in our directory. On ports of TCP every user of the machine could read what the notebook puts out."""
    config = Config()
    config.KernelManager.transport = "ipc"
    config.KernelManager.connection_file = os.path.join(home, "k.json")
    return config


def braced(path):
    """papermill fills parameters into paths, by their names in braces."""
    return path.replace("{", "{{").replace("}", "}}")


class Whole:
    """papermill's way to files, for paths that begin with a slash."""

    @staticmethod
    def write(text, path):
        files.write(path, text.encode())

    @staticmethod
    def pretty_path(path):
        return path


class Kernels(AsyncKernelManager):
    """Knows no kernel but that of the Python that runs this, whatever is installed under its name."""

    @default("kernel_spec_manager")
    def _kernel_spec_manager_default(self):
        return KernelSpecManager(kernel_dirs=[], data_dir=self.data_dir)


class Client(PapermillNotebookClient):
    """Knows which cell runs, should the kernel die."""

    # As Jupyter counts them.
    at = 0

    def execute_cell(self, cell, index, *more, **other):
        self.at += cell.cell_type == "code"
        return super().execute_cell(cell, index, *more, **other)


class Engine(NBClientEngine):
    """As papermill's own, with our client, which is kept to be asked afterwards."""

    client = None

    @classmethod
    def execute_managed_notebook(cls, manager, kernel_name, config, **_):
        # How long a cell takes is the caller's matter; how long its output is on its way, the machine's.
        cls.client = Client(
            manager, kernel_name=NATIVE_KERNEL_NAME, kernel_manager_class=Kernels, startup_timeout=300, iopub_timeout=300, timeout=None,
            config=config,
        )
        cls.client.execute()
