"""Starts FlowMachine 1.34.0 as the appliance wants it.

``python -m flowkit_flowmachine server`` and ``python -m flowkit_flowmachine cache-cleanup`` run upstream's two
programs in this process, unchanged but for what their settings can't say:

========== =========================================================================================
secrets    found as files, in the appliance's order, and kept out of the environment
database   sessions say which program they belong to; connections are tried before they are used
listen     the server's socket, which has no authentication, is bound to one address
pool       a query that waits for another one of the same pool runs it, instead of waiting for ever
objects    only what these programs have stored themselves is unpickled
logs       flowkit's own pings are not logged
stop       SIGTERM ends the process at once, whatever its threads wait for, with status 0
========== =========================================================================================

Each module replaces one name in flowmachine or one of its libraries, and says so at the place.
"""
