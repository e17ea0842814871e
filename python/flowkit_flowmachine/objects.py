"""Which stored objects are unpickled.

flowmachine keeps a pickled query object beside every result, in ``cache.cached.obj``. Whoever unpickles one runs what it
says, and people who use the library write such rows, too. So these programs sign what they store, and unpickle nothing
else. The key comes from FlowMachine's own password, which people do not have.

The signature stands behind the pickle, where nobody's library looks: people read our objects as before. What people have
stored is known here by other means:

- for the API, a query is made anew from its parameters, as the server does at every poll;
- as a subset of subscribers, a result is the table that it is;
- for the cache cleaner it is a stub, as results of other versions of flowmachine are.
"""

import hashlib
import hmac
import pickle

# Between a pickle and its signature.
MARK = b"\nsigned by flowkit: "
DIGEST = hashlib.sha256
SIGNATURE_BYTES = 32


class NotOurs(ValueError):
    """A row of the cache that another program has written, or we with another password."""


class Signer:
    """Signs and checks objects, each as that of one query."""

    def __init__(self, password):
        # People see signatures, so guessing the password by them has to be slow: 2**14 takes 50 ms and 16 MiB a guess.
        self._key = hashlib.scrypt(password.encode(), salt=b"flowkit: cache.cached.obj", n=2**14, r=8, p=1, dklen=32)

    def _signature(self, query_id, pickled):
        return hmac.digest(self._key, query_id.encode() + b"\0" + pickled, DIGEST)

    def signed(self, query_id, pickled):
        """A pickle with its signature."""
        return pickled + MARK + self._signature(query_id, pickled)

    def checked(self, query_id, stored):
        """The pickle in what was stored for a query; NotOurs when it is not ours."""
        pickled, mark, signature = (
            stored[: -len(MARK) - SIGNATURE_BYTES],
            stored[-len(MARK) - SIGNATURE_BYTES : -SIGNATURE_BYTES],
            stored[-SIGNATURE_BYTES:],
        )
        if mark != MARK or not hmac.compare_digest(signature, self._signature(query_id, pickled)):
            raise NotOurs(f"The object of query id '{query_id}' was not stored by this server.")
        return pickled


class SigningPickle:
    """The module pickle, as flowmachine may use it."""

    def __init__(self, signer):
        self._signer = signer

    def __getattr__(self, name):
        return getattr(pickle, name)

    def dumps(self, query):
        return self._signer.signed(query.query_id, pickle.dumps(query))

    def loads(self, _stored):
        raise pickle.UnpicklingError("objects are unpickled by flowkit_flowmachine.objects only")


def unpickle_only_ours(password, server):
    """Replaces ``pickle`` and ``get_query_object_by_id``, wherever flowmachine (its server, if `server`) sees them."""
    from flowmachine import __version__
    from flowmachine.core import cache, query

    signer = Signer(password)

    def stored_row(connection, query_id):
        quoted = query_id.replace("'", "''")
        rows = connection.fetch(
            f"SELECT obj, version, schema, tablename FROM cache.cached WHERE query_id='{quoted}'"
        )
        if not rows:
            raise ValueError(f"Query id '{query_id}' is not in cache on this connection.")
        return rows[0]

    def stored_object(connection, query_id):
        obj, version, _, _ = stored_row(connection, query_id)
        if version != __version__:
            raise ValueError(f"Query id '{query_id}' was stored by flowmachine {version}, and this is {__version__}.")
        return pickle.loads(signer.checked(query_id, bytes(obj or b"")))

    query.pickle = cache.pickle = SigningPickle(signer)
    cache.get_query_object_by_id = stored_object
    if server:
        _for_the_server(stored_row, stored_object)


def _for_the_server(stored_row, stored_object):
    from flowmachine.core import Table
    from flowmachine.core.context import get_redis
    from flowmachine.core.query_info_lookup import QueryInfoLookup
    from flowmachine.core.server import action_handlers
    from flowmachine.core.server.query_schemas import FlowmachineQuerySchema, subscriber_subset

    def stored_or_made_anew(connection, query_id):
        try:
            return stored_object(connection, query_id)
        except NotOurs:
            parameters = QueryInfoLookup(get_redis()).get_query_params(query_id)
            query = FlowmachineQuerySchema().load(parameters)._flowmachine_query_obj
            if query.query_id != query_id:
                raise
            return query

    def stored_or_table(connection, query_id):
        try:
            return stored_object(connection, query_id)
        except NotOurs:
            _, _, schema, name = stored_row(connection, query_id)
            return Table(name=name, schema=schema)

    def exists(connection, query_id):
        try:
            stored_object(connection, query_id)
        except NotOurs:
            return True
        except ValueError:
            return False
        return True

    action_handlers.get_query_object_by_id = stored_or_made_anew
    subscriber_subset.get_query_object_by_id = stored_or_table
    subscriber_subset.cache_table_exists = exists
