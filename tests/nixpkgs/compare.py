"""Compares what comes of our outputs in two package sets (rendered.nix): compare.py README NIXPKGS.json OTHER.json

What may differ is a row of the table in README whose first cell is a pattern: of each difference there must be one, and a
row that nothing differs by any more must go. Store paths count by their names, without versions.
"""

import fnmatch
import json
import re
import sys

STORE = re.compile(r"/nix/store/[0-9a-z]{32}-([^/\s\"':]+)")
VERSION = re.compile(r"-(\d[\w.+~]*)(?=-|$|\.)")


def plain(text: str) -> str:
    """Store paths as `‹name›`."""
    return STORE.sub(lambda found: f"‹{VERSION.sub('', found[1])}›", text)


def unit(text: str) -> dict[str, str]:
    """A unit's settings: `Service.Type`, `Service.Environment.HOME`."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line:
            key, value = line.strip().split("=", 1)
            if key == "Environment":
                name, value = json.loads(value).split("=", 1)
                key = f"Environment.{name}"
            found.setdefault(f"{section}.{key}", []).append(value)
    # An order of units is a set.
    return {key: " ".join(sorted(" ".join(values).split())) if key.startswith("Unit.") else "; ".join(values) for key, values in found.items()}


def flat(value, key: str) -> dict[str, str]:
    if isinstance(value, dict):
        return {k: v for name, item in value.items() for k, v in flat(item, f"{key}.{name}" if key else name).items()}
    if isinstance(value, list):
        return {key: "; ".join(sorted(plain(item if isinstance(item, str) else json.dumps(item, sort_keys=True)) for item in value))}
    return {key: plain(value) if isinstance(value, str) else json.dumps(value)}


def read(path: str) -> dict[str, str]:
    with open(path) as file:
        rendered = json.load(file)
    rendered["names"] = {key: VERSION.sub("", name) for key, name in rendered["names"].items()}
    rendered["units"] = {name: unit(text) for name, text in rendered["units"].items()}
    return flat(rendered, "")


def patterns(readme: str) -> list[str]:
    """First cells of the table below the heading that names rendered results."""
    with open(readme) as file:
        part = file.read().split("\n## What differs from nixpkgs", 1)[1].split("\n## ", 1)[0]
    return [cell for row in re.findall(r"^\| (.*?) \|", part, re.M) for cell in re.findall(r"`([^`]+)`", row)]


def main() -> None:
    readme, ours, theirs = sys.argv[1], read(sys.argv[2]), read(sys.argv[3])
    allowed = patterns(readme)
    unused = set(allowed)
    wrong = 0
    keys = sorted(ours.keys() | theirs.keys())
    for key in keys:
        if ours.get(key) == theirs.get(key):
            continue
        rows = [pattern for pattern in allowed if fnmatch.fnmatchcase(key, pattern)]
        unused -= set(rows)
        if not rows:
            wrong += 1
            print(f"{key} differs, and {readme} does not say why:\n  nixpkgs: {ours.get(key)}\n  here:    {theirs.get(key)}")
    for pattern in sorted(unused):
        wrong += 1
        print(f"{readme} explains `{pattern}`, by which nothing differs")
    same = sum(ours.get(key) == theirs.get(key) for key in keys)
    print(f"rendered: {len(keys)} values compared with tests/debian, {same} the same, {len(keys) - same - wrong} differ as its README explains")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
