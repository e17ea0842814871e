"""The command line: ``python -m flowkit_flowetl prepare``, or any command of Airflow's."""

import os
import resource
import sys

from . import places


def main(arguments):
    if not arguments:
        print("usage: python -m flowkit_flowetl prepare|COMMAND", file=sys.stderr)
        return 2
    # A memory image holds passwords.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Lines reach the log when they are written, also through a pipe.
    sys.stdout.reconfigure(line_buffering=True)
    # Before Airflow is imported, which reads its settings meanwhile.
    places.announce()
    if arguments == ["prepare"]:
        from . import prepare

        try:
            return prepare.everything()
        except prepare.Mistake as mistake:
            print(mistake, file=sys.stderr)
            return 2
    if os.environ.get("FLOWKIT_FLOWETL_PULSE"):
        from . import pulse

        pulse.begin()
    from airflow.__main__ import main as airflow

    sys.argv = ["airflow", *arguments]
    return airflow()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
