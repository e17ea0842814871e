"""Where the server listens.

Upstream binds ``tcp://*:PORT``. Whoever reaches that socket can run queries and read SQL: it asks for no password. So
the appliance binds it to one address; which one may be every interface is decided before this program is started
(`src/roles/flowmachine.rs`: only in a container).
"""

import ipaddress
import os


class CannotListen(Exception):
    """The address is taken, or is not this machine's."""


def checked(address):
    """The address as ZeroMQ wants it; ValueError when it is none."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(
            f"FLOWKIT_FLOWMACHINE_LISTEN={address}: not an IP address"
        ) from None
    return f"[{ip}]" if ip.version == 6 else str(ip)


def on(address):
    """Makes the server bind to this address. Replaces ``Context`` as flowmachine.core.server.server sees it."""
    import zmq.asyncio
    from flowmachine.core.server import server

    address = checked(address)

    class OneAddress(zmq.asyncio.Socket):
        def bind(self, wanted):
            everywhere, _, port = wanted.rpartition(":")
            if everywhere != "tcp://*":
                # Not the flowmachine that this was written for.
                raise RuntimeError(f"the server was about to listen on {wanted}")
            self.ipv6 = address.startswith("[")
            try:
                return super().bind(f"tcp://{address}:{port}")
            except zmq.ZMQError as error:
                raise CannotListen(f"can't listen on {address}:{port}: {os.strerror(error.errno)}") from None

    class Context(zmq.asyncio.Context):
        _socket_class = OneAddress

    server.Context = Context
