"""The command line: ``python -m flowkit_flowmachine server|cache-cleanup``."""

import os
import resource
import sys
import traceback
import warnings

from . import stop

PROGRAMS = ("server", "cache-cleanup")


class Mistake(Exception):
    """Something the user can put right; ends the process with status 2 and one line."""


def main(arguments):
    if len(arguments) != 1 or arguments[0] not in PROGRAMS:
        print("usage: python -m flowkit_flowmachine server|cache-cleanup", file=sys.stderr)
        return 2
    program = arguments[0]

    # First, so that every thread that a library starts inherits it.
    stop.on_sigterm()
    # A memory image holds passwords.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Lines reach the log when they are written, also through a pipe.
    sys.stdout.reconfigure(line_buffering=True)
    # The pool is sized against deadlocks, not by the number of cores; PostgreSQL's own limits guard the machine.
    warnings.filterwarnings("ignore", message="Maximum number of connections")

    try:
        return run(program)
    except Mistake as mistake:
        print(f"flowmachine {program}: {mistake}", file=sys.stderr)
        return 2
    except BaseException:  # printed here, because Python would first wait for all threads, which may be for ever
        traceback.print_exc()
        return 1


def run(program):
    from . import database, listen, logs, names, objects, pool, secrets

    secrets.from_files()
    require("FLOWMACHINE_FLOWDB_PASSWORD", "REDIS_PASSWORD")
    if program == "cache-cleanup":
        pause = pruning_pause()
        if pause < 0:
            print(f"cache-cleanup is off (FLOWMACHINE_CACHE_PRUNING_FREQUENCY={pause})")
            return 0

    logs.quiet()
    database.identify(f"flowkit-{'flowmachine' if program == 'server' else program}")
    pool.help_while_waiting()
    database.notice_new_days()
    objects.unpickle_only_ours(secrets.value("FLOWMACHINE_FLOWDB_PASSWORD"), server=program == "server")
    if program == "server":
        names.refuse_others()
        try:
            listen.on(os.environ.get("FLOWKIT_FLOWMACHINE_LISTEN", "127.0.0.1"))
        except ValueError as refused:
            raise Mistake(refused) from None
        from flowmachine.core.server import server as upstream
    else:
        from flowmachine.core.server import cache_cleanup as upstream

    from sqlalchemy.exc import OperationalError

    try:
        upstream.main()
    except OperationalError as error:
        print(f"flowmachine {program}: FlowDB: {str(error.orig).strip()}", file=sys.stderr)
    except listen.CannotListen as error:
        print(f"flowmachine {program}: {error}", file=sys.stderr)
    return 1  # neither ever ends of itself


def pruning_pause():
    """Seconds between two prunings; negative for none."""
    text = os.environ.get("FLOWMACHINE_CACHE_PRUNING_FREQUENCY", "86400")
    try:
        pause = int(text)
    except ValueError:
        pause = 0
    if pause == 0:
        raise Mistake(
            f"FLOWMACHINE_CACHE_PRUNING_FREQUENCY={text}: a number of seconds above 0, or a negative one for no pruning"
        )
    return pause


def require(*names):
    """Refuses to start without these secrets, all missing ones in one line."""
    from get_secret_or_env_var import environ

    missing = []
    for name in names:
        try:
            if environ[name]:
                continue
            missing.append(f"{name} is empty")
        except KeyError:
            missing.append(f"{name} is missing")
        except OSError as error:
            missing.append(f"{name} can't be read from {error.filename}: {error.strerror}")
    if missing:
        raise Mistake(f"{'; '.join(missing)} (`flowkit secrets check` says what belongs where)")


if __name__ == "__main__":
    stop.leave(main(sys.argv[1:]))
