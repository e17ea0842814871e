"""Writes a python/*-wheels.json: which published file of each locked package is for which system, as Nix fetches them.

Reads a pylock.toml (PEP 751) made from a lock beside it, so the hashes are those of that file. Called by
scripts/relock-python.sh with the interpreter of an environment that has pip, whose copy of `packaging` knows tags and
markers.
"""

import base64
import json
import sys
import tomllib

from pip._vendor.packaging.markers import Marker
from pip._vendor.packaging.tags import compatible_tags, cpython_tags
from pip._vendor.packaging.utils import parse_wheel_filename

PYTHON = (3, 13)
# What builds packages is no part of what runs.
BUILD_ONLY = {"setuptools", "wheel"}
# nixpkgs 26.05 has glibc 2.42, Debian trixie 2.41; no wheel here asks for more than 2.34.
GLIBC = range(41, 4, -1)
MACHINES = {"x86_64-linux": "x86_64", "aarch64-linux": "aarch64"}


def main(pylock):
    with open(pylock, "rb") as file:
        locked = tomllib.load(file)["packages"]
    packages = [entry(package) for package in locked if wanted(package)]
    json.dump({"python": "%d.%d" % PYTHON, "packages": packages}, sys.stdout, indent=2)
    print()


def wanted(package):
    version = "%d.%d" % PYTHON
    on = {"python_version": version, "python_full_version": version + ".0", "sys_platform": "linux",
          "platform_system": "Linux", "platform_machine": "x86_64", "implementation_name": "cpython"}
    marker = package.get("marker")
    return package["name"] not in BUILD_ONLY and (marker is None or Marker(marker).evaluate(on))


def entry(package):
    found = {"name": package["name"], "version": package["version"]}
    if "wheels" not in package:
        pname = package["sdist"]["url"].rsplit("/", 1)[1].removesuffix(".tar.gz").rsplit("-", 1)[0]
        return found | {"sdist": {"pname": pname, "hash": sri(package["sdist"])}}
    by_system = {system: best(package["wheels"], machine) for system, machine in MACHINES.items()}
    same = len({wheel["hash"] for wheel in by_system.values()}) == 1
    return found | {"wheel": {"any": next(iter(by_system.values()))} if same else by_system}


def best(wheels, machine):
    """The wheel that pip would take: that of the earliest tag, as tags go from particular to general."""
    platforms = ["manylinux_2_%d_%s" % (minor, machine) for minor in GLIBC]
    platforms += ["manylinux2014_" + machine, "manylinux2010_" + machine, "manylinux1_" + machine]
    tags = [*cpython_tags(PYTHON, platforms=platforms), *compatible_tags(PYTHON, "cp313", platforms)]
    order = {tag: place for place, tag in reversed(list(enumerate(tags)))}
    places = []
    for wheel in wheels:
        name = wheel["url"].rsplit("/", 1)[1]
        fit = [order[tag] for tag in parse_wheel_filename(name)[3] if tag in order]
        if fit:
            places.append((min(fit), name, wheel))
    if not places:
        sys.exit("no wheel for CPython %d.%d on %s among %s" % (*PYTHON, machine, [w["url"] for w in wheels]))
    _, name, wheel = min(places, key=lambda place: place[:2])
    # As in the name of the file, not normalised: it is put together from them again.
    pname, _, *build, python, abi, platform = name.removesuffix(".whl").split("-")
    assert not build, name
    return {"pname": pname, "python": python, "abi": abi, "platform": platform, "hash": sri(wheel)}


def sri(file):
    return "sha256-" + base64.b64encode(bytes.fromhex(file["hashes"]["sha256"])).decode()


main(sys.argv[1])
