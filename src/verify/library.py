"""Counts people by area as an analyst would, with FlowMachine's library. Run by `flowkit verify`.

Reads JSON from stdin: the day, and what `flowmachine.connect` needs. Writes JSON to stdout: people by pcode.
"""

import json
import resource
import sys

# A memory image would hold passwords.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
given = json.load(sys.stdin)
# Libraries print to stdout.
answer, sys.stdout = sys.stdout, sys.stderr

import flowmachine
from flowmachine.core import make_spatial_unit
from flowmachine.features import daily_location
from flowmachine.features.location.redacted_spatial_aggregate import RedactedSpatialAggregate
from flowmachine.features.location.spatial_aggregate import SpatialAggregate

flowmachine.connect(log_level="error", **given["connection"])
locations = daily_location(given["day"], spatial_unit=make_spatial_unit("admin", level=3), method="last")
people = RedactedSpatialAggregate(spatial_aggregate=SpatialAggregate(locations=locations))
# Stored, so that everybody finds the answer in the cache; and read from there.
people.store().result()
rows = people.get_dataframe()
json.dump({row.pcod: int(row.value) for row in rows.itertuples()}, answer)
