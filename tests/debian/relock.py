"""Writes debs.lock.json from debs.toml and what apt knows: one entry a store path, with versions, files and hashes.

Run by relock.sh, in the root that Nix runs in. Prints what moved.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent


def apt(*args: str) -> str:
    """Runs a program of apt's as on a machine with nothing installed: what a package needs, this root may have already."""
    command = [args[0], "-o", "Dir::State::status=/dev/null", "-o", "APT::Install-Recommends=false", *args[1:]]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def resolve(roots: list[str]) -> list[str]:
    """The versions that apt would install for `roots`, as name=version."""
    answer = apt("apt-get", "install", "--yes", "--simulate", *roots)
    return [f"{name.split(':')[0]}={version}" for name, version in re.findall(r"^Inst (\S+) \((\S+) ", answer, re.M)]


def records(packages: list[str]) -> dict[str, dict[str, str]]:
    """apt's records of packages, by name."""
    found = {}
    for text in apt("apt-cache", "show", *packages).strip().split("\n\n"):
        record = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", text, re.M))
        found.setdefault(record["Package"], record)
    return found


def relation(field: str) -> list[list[str]]:
    """The alternatives of each term of a dependency field, without versions and architectures."""
    terms = [term for term in field.split(",") if term.strip()]
    return [[re.split(r"[\s(:\[]", name.strip())[0] for name in term.split("|")] for term in terms]


def edges(found: dict[str, dict[str, str]], follow: set[str]) -> dict[str, list[str]]:
    """Which packages of `follow` each package depends on."""
    providers: dict[str, list[str]] = {}
    for name, record in found.items():
        for provided in [name, *(names[0] for names in relation(record.get("Provides", "")))]:
            providers.setdefault(provided, []).append(name)
    result = {}
    for name, record in found.items():
        terms = relation(record.get("Pre-Depends", "")) + relation(record.get("Depends", ""))
        targets = {target for names in terms for wanted in names for target in providers.get(wanted, [])}
        result[name] = sorted((targets & follow) - {name})
    return result


def components(graph: dict[str, list[str]], roots: list[str]) -> list[list[str]]:
    """The strongly connected components that `roots` reach (Tarjan): packages that need one another share a store path."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph[name]:
            if target not in index:
                visit(target)
            if target in stack:
                low[name] = min(low[name], low[target])
        if low[name] == index[name]:
            cut = stack.index(name)
            found.append(sorted(stack[cut:], key=lambda name: (len(name), name)))
            del stack[cut:]

    for root in sorted(roots):
        if root not in index:
            visit(root)
    return found


def lock(wanted: dict) -> dict:
    found = records(resolve(wanted["roots"]))
    missing = sorted(set(wanted["roots"]) - set(found))
    if missing:
        sys.exit(f"relock: apt knows no package {', '.join(missing)} in its lists (debs.toml, roots)")
    libraries = {n for n, r in found.items() if r["Section"].split("/")[-1] in wanted["sections"]}
    graph = edges(found, libraries - set(wanted["without"]))
    groups = components(graph, wanted["roots"])
    leader = {name: group[0] for group in groups for name in group}
    paths = {}
    for group in groups:
        depends = {leader[target] for name in group for target in graph[name]} - {group[0]}
        paths[group[0]] = {"debs": {name: deb(found[name]) for name in group}, "depends": sorted(depends)}
    return {"suite": wanted["suite"], "paths": dict(sorted(paths.items()))}


def deb(record: dict[str, str]) -> dict[str, str]:
    return {"version": record["Version"], "file": record["Filename"], "sha256": record["SHA256"]}


def versions(lock: dict) -> dict[str, str]:
    return {name: deb["version"] for path in lock["paths"].values() for name, deb in path["debs"].items()}


def fetch(lock: dict) -> bool:
    """Whether all locked files can be had; they are here then. Says which can't."""
    debs = [(name, deb) for path in lock["paths"].values() for name, deb in path["debs"].items()]
    with tempfile.NamedTemporaryFile("w") as file:
        file.writelines(f"{deb['sha256']} {deb['file']} {name} {deb['version']}\n" for name, deb in debs)
        file.flush()
        return subprocess.run(["bash", HERE / "packages/fetch.sh", "debs", file.name]).returncode == 0


def main() -> None:
    place = HERE / "debs.lock.json"
    old = json.loads(place.read_text()) if place.exists() else {"paths": {}}
    if sys.argv[1:] == ["--if-gone"] and fetch(old):
        return
    subprocess.run(["apt-get", "update", "--quiet=2"], check=True)
    new = lock(tomllib.loads((HERE / "debs.toml").read_text()))
    place.write_text(json.dumps(new, indent=1) + "\n")
    before, after = versions(old), versions(new)
    moved = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    for name in moved if before else []:
        print(f"relock: {name} {before.get(name, '(new)')} -> {after.get(name, '(gone)')}")
    print(f"relock: {len(after)} packages in {len(new['paths'])} store paths, {len(moved)} moved", file=sys.stderr)
    if not fetch(new):
        sys.exit(1)


if __name__ == "__main__":
    main()
