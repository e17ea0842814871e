import os

import flowclient
from flowclient.api_query import APIQuery
from IPython.display import Markdown

connection = flowclient.connect(
    url=flowapi_url, token=os.environ["FLOWAPI_TOKEN"].strip(), ssl_certificate=os.environ.get("SSL_CERTIFICATE_FILE") or True
)
rows = APIQuery(connection=connection, parameters=spec).get_result(poll_interval=0.2, disable_progress=True).dropna(subset=["value"])
lines = "\n".join(f"| {row[by]} | {int(row['value'])} |" for row in rows.to_dict("records"))
Markdown(f"On {reference_date}:\n\n| {by} | value |\n|---|---|\n{lines}\n")
