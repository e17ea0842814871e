"""What need not be in the log."""

import logging

# The prefix of request ids of flowkit's own requests.
OURS = "flowkit-"


def quiet():
    """Leaves out the two lines for each of flowkit's own pings, which come every few seconds, and a remark about an
    optional package. To be called before flowmachine is imported, which sets up logging itself.
    """
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    logging.getLogger("flowmachine.query_run_log").addFilter(_is_no_ping_of_ours)


def _is_no_ping_of_ours(_record):
    from flowmachine.core.context import get_action_request

    try:
        request = get_action_request()
    except LookupError:
        return True
    return request.action != "ping" or not request.request_id.startswith(OURS)
