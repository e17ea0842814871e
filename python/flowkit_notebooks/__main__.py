"""The command line; see the package."""

import argparse
import json
import os
import re
import resource
import signal
import sys
import tempfile

from . import Died, Mistake


def main(arguments):
    chosen = parser().parse_args(arguments)
    # A memory image holds a token.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # So that a kernel is stopped and its files are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Libraries and kernels write what they like; whoever called us gets one line.
    tell = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 1)
        os.dup2(noise.fileno(), 2)
        try:
            chosen.work(chosen)
            return 0
        except Exception as error:  # whatever it is, it is the one line
            said = str(error) if isinstance(error, Mistake) else f"{type(error).__name__}: {error}"
            line = f"{chosen.notebook}: {said}{last_line(noise) if isinstance(error, Died) else ''}"
            print(re.sub(r"[^ -~\xa1-\U0010ffff]+", " ", line)[:1000].strip(), file=tell, flush=True)
            return 1 if chosen.work is execute else 3


def parser():
    parser = argparse.ArgumentParser(prog="flowkit_notebooks", description="Runs notebooks, and makes reports of them.")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("execute", help="run a notebook, with the parameters in the JSON object on standard input")
    one.add_argument("notebook", metavar="INPUT.ipynb")
    one.add_argument("output", metavar="OUTPUT.ipynb")
    one.set_defaults(work=execute)
    one = commands.add_parser("report", help="make pages of a notebook that was run")
    one.add_argument("notebook", metavar="EXECUTED.ipynb")
    one.add_argument("--html", required=True, metavar="FILE")
    one.add_argument("--pdf", required=True, metavar="FILE")
    one.add_argument("--template", metavar="FILE", help="a template of nbconvert's for HTML (Jinja)")
    one.set_defaults(work=report)
    return parser


def execute(chosen):
    from . import execute

    try:
        parameters = json.loads(sys.stdin.buffer.read() or b"{}")
    except ValueError as error:
        raise Mistake(f"the parameters on standard input are not JSON: {error}") from None
    if not isinstance(parameters, dict):
        raise Mistake("the parameters on standard input are not a JSON object")
    execute.execute(chosen.notebook, chosen.output, parameters)


def report(chosen):
    from . import report

    report.report(chosen.notebook, chosen.html, chosen.pdf, chosen.template)


def last_line(noise):
    """What a kernel that died said last, in brackets."""
    noise.seek(max(0, noise.seek(0, os.SEEK_END) - 4096))
    lines = noise.read().decode(errors="replace").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    return f" ({lines[-1]})" if lines else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
