# What the tests' programs begin with: a token of upstream's own making, and a connection by upstream's own client.
import asyncio, datetime, json, os, sys, threading, time

import flowclient
import httpx
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flowkit_jwt_generator import generate_token

UNITS = ["admin3", "lon-lat", "nonspatial"]
TOPS = {
    "spatial_aggregate": ["daily_location", "modal_location"],
    "location_event_counts": [],
    "unique_subscriber_counts": [],
    "histogram_aggregate": ["event_count"],
    "dummy_query": [],
    "geography": [],
}
SCOPES = ["run", "get_result", "get_available_dates", "get_qa_checks", "admin3:geography:geography"] + [
    f"{unit}:{top}:{kind}" for unit in UNITS for top, kinds in TOPS.items() for kind in [top, *kinds]
]


# Read once: to look a key over takes longer than to sign a hundred tokens.
PRIVATE = load_pem_private_key(open(os.environ["KEY"], "rb").read(), None)


def token(scopes=SCOPES, user="ann", **other):
    wish = dict(
        flowapi_identifier="flowapi_server",
        username=user,
        private_key=PRIVATE,
        lifetime=datetime.timedelta(minutes=30),
        roles={"analyst": scopes},
    )
    return generate_token(**(wish | other))


def connect(**other):
    return flowclient.connect(url=os.environ["URL"], token=token(**other), ssl_certificate=os.environ["CERTIFICATE"])


def http(**other):
    import ssl

    context = ssl.create_default_context(cafile=os.environ["CERTIFICATE"])
    headers = {"Authorization": f"Bearer {token(**other)}"}
    return httpx.Client(base_url=os.environ["URL"] + "/api/0/", verify=context, headers=headers, timeout=60)


def daily(day, method="last"):
    return flowclient.daily_location_spec(date=f"2016-01-{day:02}", aggregation_unit="admin3", method=method)


