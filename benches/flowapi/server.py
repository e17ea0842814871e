"""FlowAPI in small, on the stack of upstream's: Quart, Hypercorn, asyncpg, pyzmq. Written for this benchmark from the contract: each
request checks its token, asks FlowMachine over a socket of its own as often as upstream does, and reads rows by a cursor. It is
kinder to itself than it has to be: rows go out fifty at a time, in one process that does nothing else.

Told by its environment: PORT, CERTIFICATE, CERTIFICATE_KEY, PUBLIC_KEY, AUDIENCE, DSN, FLOWMACHINE (host:port), CONNECTIONS.
"""

import asyncio
import base64
import csv
import gzip
import io
import json
import os
import uuid

import asyncpg
import jwt
import rapidjson
import zmq
import zmq.asyncio
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, current_app, make_response, request

app = Quart(__name__)
zeromq = zmq.asyncio.Context()


@app.before_serving
async def connect():
    app.key = open(os.environ["PUBLIC_KEY"]).read()
    app.pool = await asyncpg.create_pool(os.environ["DSN"], max_size=int(os.environ["CONNECTIONS"]), init=embed_json)


async def embed_json(connection):
    await connection.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


def roles():
    claims = jwt.decode(request.headers["Authorization"].split()[1], app.key, algorithms=["RS256"], audience=os.environ["AUDIENCE"])
    return json.loads(gzip.decompress(base64.b64decode(claims["user_claims"])))


def kinds(spec):
    if isinstance(spec, dict):
        if "query_kind" in spec:
            yield spec["query_kind"]
        spec = spec.values()
    if not isinstance(spec, str) and hasattr(spec, "__iter__"):
        for part in spec:
            yield from kinds(part)


async def ask(socket, action, **params):
    await socket.send_json({"action": action, "request_id": str(uuid.uuid4()), "params": params})
    return await socket.recv_json()


async def permitted(socket, query_id, *scopes):
    """Whether one role has all scopes of a stored query."""
    spec = (await ask(socket, "get_query_params", query_id=query_id))["payload"]["query_params"]
    unit = (await ask(socket, "get_aggregation_unit", **spec))["payload"]["aggregation_unit"] or "nonspatial"
    needed = {*scopes, *(f"{unit}:{spec['query_kind']}:{kind}" for kind in kinds(spec))}
    return any(needed <= set(role) for role in roles().values())


def socket():
    new = zeromq.socket(zmq.REQ)
    new.connect("tcp://" + os.environ["FLOWMACHINE"])
    return new


@app.route("/api/0/poll/<query_id>")
async def poll(query_id):
    with socket() as flowmachine:
        if not await permitted(flowmachine, query_id):
            return {"msg": "User claims verification failed"}, 403
        state = (await ask(flowmachine, "poll_query", query_id=query_id))["payload"]["query_state"]
        return {"status": state}, 303, {"Location": f"/api/0/get/{query_id}"}


def as_json(rows, first):
    return (b"" if first else b", ") + b", ".join(
        rapidjson.dumps(dict(row), number_mode=rapidjson.NM_DECIMAL, datetime_mode=rapidjson.DM_ISO8601).encode() for row in rows
    )


def as_csv(rows, first):
    text = io.StringIO()
    lines = csv.writer(text)
    if first:
        lines.writerow(rows[0].keys())
    lines.writerows(row.values() for row in rows)
    return text.getvalue().encode()


async def stream(pool, sql, write, head, tail):
    async with pool.acquire() as connection, connection.transaction():
        yield head
        rows = []
        first = True
        async for row in connection.cursor(sql):
            rows.append(row)
            if len(rows) == 50:
                yield write(rows, first)
                rows, first = [], False
        if rows:
            yield write(rows, first)
        yield tail


@app.route("/api/0/get/<query_id>.<filetype>")
async def get(query_id, filetype):
    with socket() as flowmachine:
        if not await permitted(flowmachine, query_id, "get_result"):
            return {"msg": "User claims verification failed"}, 403
        action = "get_geo_sql_for_query_result" if filetype == "geojson" else "get_sql_for_query_result"
        sql = (await ask(flowmachine, action, query_id=query_id))["payload"]["sql"]
    write, kind, head, tail = {
        "json": (as_json, "application/json", b'{"query_id":"%s", "query_result":[' % query_id.encode(), b"]}"),
        "csv": (as_csv, "text/csv", b"", b""),
        "geojson": (as_json, "application/geo+json", b'{"type":"FeatureCollection", "features":[', b"]}"),
    }[filetype]
    response = await make_response(stream(current_app.pool, sql, write, head, tail), {"Content-Type": kind})
    response.timeout = None
    return response


config = Config()
config.bind = ["127.0.0.1:" + os.environ["PORT"]]
config.certfile, config.keyfile = os.environ["CERTIFICATE"], os.environ["CERTIFICATE_KEY"]
config.loglevel = "ERROR"
asyncio.run(serve(app, config))
