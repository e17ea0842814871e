"""Writes repart.d(5) definitions of the `partitions` of the JSON that Nix gives."""

import json
import os
import sys

attrs = json.load(open(sys.argv[1]))
for name, partition in attrs["partitions"].items():
    copies = [(source, target) for target, source in partition["contents"].items()]
    if partition["closure"]:
        with open(f"{partition['closure']}/store-paths") as paths:
            prefix = partition["prefix"].rstrip("/")
            copies += [(path, f"{prefix}/{os.path.basename(path)}") for path in paths.read().split()]
    lines = ["[Partition]"]
    for key, value in partition["config"].items():
        for item in value if isinstance(value, list) else [value]:
            lines.append(f"{key}={'yes' if item is True else 'no' if item is False else item}")
    lines += [f"CopyFiles={source}:{target}" for source, target in copies]
    with open(f"{sys.argv[2]}/{name}.conf", "w") as file:
        file.write("\n".join(lines) + "\n")
