"""Runs a test script against a machine in QEMU: the part of NixOS's test driver that our tests use.

    driver.py BOOT-SCRIPT TEST-SCRIPT OUT-DIRECTORY

A script finds `machine`, `start_all`, `subtest` and `log`.
"""

import base64
import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

START = time.monotonic()


class Log:
    def log(self, text):
        print(f"[{time.monotonic() - START:7.2f}] {text}", flush=True)

    info = log


log = Log()


class Machine:
    """One machine: `crash` and `start` again find the same disk."""

    def __init__(self, boot, name="machine"):
        self.name = name
        self.boot = boot
        self.state = tempfile.mkdtemp(prefix=f"vm-state-{name}-")
        self.process = None
        self.shell = None
        self.console = []

    # --- power -----------------------------------------------------------------------------------

    def start(self, allow_reboot=False):
        if self.process is not None:
            return
        path = f"{self.state}/shell"
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        options = [
            "-machine accel=tcg",
            f"-chardev socket,id=shell,path={path}",
            "-device virtio-serial-pci -device virtconsole,chardev=shell",
            "" if allow_reboot else "-no-reboot",
        ]
        environment = os.environ | {
            "TMPDIR": self.state,
            "USE_TMPDIR": "1",
            "NIX_DISK_IMAGE": f"{self.state}/{self.name}.qcow2",
            # Time passes slowly where the processor is emulated.
            "QEMU_KERNEL_PARAMS": "systemd.default_device_timeout_sec=600 systemd.default_timeout_start_sec=600",
            "QEMU_OPTS": " ".join(options) + " " + os.environ.get("QEMU_OPTS", ""),
        }
        log.log(f"{self.name}: power on")
        self.process = subprocess.Popen(
            [self.boot], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        threading.Thread(target=self._read_console, args=(self.process.stdout,), daemon=True).start()
        listener.settimeout(60)
        self.shell = listener.accept()[0]
        listener.close()

    def _read_console(self, stream):
        for line in stream:
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.decode(errors="replace")).strip()
            if text:
                self.console.append(text)
                print(f"{self.name} # {text}", flush=True)

    def _wait_for_shell(self):
        self.start()
        if self.shell.gettimeout() is None:
            self.shell.settimeout(300)
            self._read_until(b"the shell is there")
            self._read_until(b"\n")

    def _read_until(self, end):
        data = b""
        while not data.endswith(end):
            byte = self.shell.recv(1)
            if not byte:
                raise RuntimeError(f"{self.name}: the machine has gone")
            data += byte
        return data[: -len(end)].decode(errors="replace").strip()

    def crash(self):
        """Power cut."""
        log.log(f"{self.name}: power cut")
        self.process.send_signal(signal.SIGKILL)
        self._gone()

    def shutdown(self):
        self._wait_for_shell()
        log.log(f"{self.name}: power off")
        self.shell.sendall(b"poweroff\n")
        self._gone()

    def _gone(self):
        self.process.wait(timeout=180)
        self.shell.close()
        self.process = self.shell = None

    # --- commands --------------------------------------------------------------------------------

    def execute(self, command, check_return=True, check_output=True, timeout=900):
        """Status and output (stdout; stderr goes to the console)."""
        self._wait_for_shell()
        encoded = base64.b64encode(f"set -euo pipefail\n{command}".encode()).decode()
        self.shell.settimeout(timeout)
        self.shell.sendall(
            f"bash -c \"$(echo {encoded} | base64 -d)\" </dev/null | base64 -w 0; "
            "printf '\\n%s\\n' ${PIPESTATUS[0]}\n".encode()
        )
        output = self._read_until(b"\n")
        status = self._read_until(b"\n")
        return int(status), base64.b64decode(output).decode(errors="replace")

    def succeed(self, *commands, timeout=900):
        output = ""
        for command in commands:
            log.log(f"{self.name}: must succeed: {command}")
            status, out = self.execute(command, timeout=timeout)
            if status != 0:
                raise AssertionError(f"command `{command}` failed with status {status}:\n{out}")
            output += out
        return output

    def fail(self, *commands, timeout=900):
        output = ""
        for command in commands:
            log.log(f"{self.name}: must fail: {command}")
            status, out = self.execute(command, timeout=timeout)
            if status == 0:
                raise AssertionError(f"command `{command}` succeeded:\n{out}")
            output += out
        return output

    def wait_until_succeeds(self, command, timeout=900):
        log.log(f"{self.name}: waiting for success: {command}")
        return self._retry(lambda: self.execute(command), lambda r: r[0] == 0, command, timeout)[1]

    def wait_until_fails(self, command, timeout=900):
        return self._retry(lambda: self.execute(command), lambda r: r[0] != 0, command, timeout)[1]

    def _retry(self, ask, good, what, timeout):
        end = time.monotonic() + timeout
        while True:
            answer = ask()
            if good(answer):
                return answer
            if time.monotonic() > end:
                raise AssertionError(f"`{what}` did not come true in {timeout} s; last: {answer}")
            time.sleep(1)

    # --- systemd and files -----------------------------------------------------------------------

    def systemctl(self, query):
        return self.execute(f"systemctl {query}")

    def wait_for_unit(self, unit, timeout=900):
        log.log(f"{self.name}: waiting for unit {unit}")

        def state():
            return self.execute(f"systemctl show --value --property=ActiveState {shlex.quote(unit)}")[1].strip()

        try:
            found = self._retry(state, lambda s: s in ("active", "failed"), unit, timeout)
            if found != "active":
                raise AssertionError(f"unit {unit} is {found}")
        except AssertionError:
            print(self.execute(f"systemctl status --no-pager {unit} || true; journalctl -b -u {unit} -n 60 --no-pager")[1])
            raise

    def wait_for_file(self, path, timeout=900):
        self.wait_until_succeeds(f"test -e {shlex.quote(path)}", timeout)

    def wait_for_open_port(self, port, addr="localhost", timeout=900):
        self.wait_until_succeeds(f"true </dev/tcp/{addr}/{port}", timeout)


@contextlib.contextmanager
def subtest(name):
    log.log(f"subtest: {name}")
    before = time.monotonic()
    yield
    log.log(f"subtest: {name}: {time.monotonic() - before:.2f} s")


boot, script, out = sys.argv[1:4]
machine = Machine(boot)
names = {"machine": machine, "subtest": subtest, "log": log, "start_all": machine.start}
try:
    with open(script) as file:
        exec(compile(file.read(), "testScript", "exec"), names)
except BaseException:
    # The console lags behind.
    time.sleep(2)
    raise
finally:
    if machine.process is not None:
        machine.process.kill()
        machine.process.wait()
    subprocess.run(["rm", "-rf", machine.state], check=False)
