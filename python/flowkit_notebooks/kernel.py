"""Imported in a kernel before the notebook."""

import ctypes
import os
import platform
import signal
import struct
from pathlib import Path

import get_secret_or_env_var
from ipykernel.iostream import OutStream
from ipykernel.zmqshell import ZMQDisplayPublisher

# The request's name and number in Linux' <sys/prctl.h>.
PR_SET_PDEATHSIG = 1
# Characters of output that a notebook may have: a hundred times what a large one with maps has.
MOST = 64 << 20

# The processor as the kernel's filters know it (<linux/audit.h>), and its numbers of socket and seccomp.
CALLS = {"x86_64": (0xC000003E, 41, 317), "aarch64": (0xC00000B7, 198, 277)}
PR_SET_NO_NEW_PRIVS = 38
# <linux/seccomp.h>: a filter, for all threads; its answers.
SET_MODE_FILTER, ALL_THREADS = 1, 1
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | 1
# <linux/filter.h>: load a word, jump if equal, jump if greater or equal, answer.
LOAD, EQUAL, AT_LEAST, ANSWER = 0x20, 0x15, 0x35, 0x06

spent = 0


def end_with_the_runner():
    """Also when whoever runs the notebook is killed."""
    runner = int(os.environ.get("JPY_PARENT_PID", "0"))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if runner and os.getppid() != runner:
        os._exit(1)


def refuse_unix_sockets():
    """From here on: what listens at a path asks for no password (PostgreSQL, Docker), and no rule about files or ports holds a notebook back.

    The kernel's own are made before. It is over with the kernel where that can't be had.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    processor, socket, seccomp = CALLS[platform.machine()]
    program = [
        (LOAD, 0, 0, 4), (EQUAL, 1, 0, processor), (ANSWER, 0, 0, KILL),
        # Beyond them are the calls of another kind of program (x32).
        (LOAD, 0, 0, 0), (AT_LEAST, 0, 1, 0x40000000), (ANSWER, 0, 0, REFUSE),
        (EQUAL, 0, 3, socket), (LOAD, 0, 0, 16), (EQUAL, 0, 1, 1), (ANSWER, 0, 0, REFUSE), (ANSWER, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    whole = struct.pack("HP", len(program), ctypes.addressof(code))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(seccomp, SET_MODE_FILTER, ALL_THREADS, whole):
        raise OSError(ctypes.get_errno(), "a filter against unix sockets can't be set")


def limited(method, size):
    """Here and not where the output is kept: what is on its way fills the memory before anybody there has counted it."""

    def put_out(self, *given, **named):
        global spent
        spent += size(given[0] if given else named["data"])
        if spent > MOST:
            raise OSError(f"this notebook has more than {MOST >> 20} MiB of output")
        return method(self, *given, **named)

    return put_out


# A container's secrets are files that are closed to a notebook: what it is given is in its environment.
get_secret_or_env_var.DOCKER_SECRETS_PATH = Path("/nonexistent")
end_with_the_runner()
try:
    refuse_unix_sockets()
except Exception as error:
    print(f"no notebook is run: {error!r}", flush=True)
    os._exit(1)
OutStream.write = limited(OutStream.write, len)
ZMQDisplayPublisher.publish = limited(ZMQDisplayPublisher.publish, lambda data: sum(len(str(value)) for value in data.values()))
