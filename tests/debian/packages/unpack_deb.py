"""Makes a store path of the Debian packages $debs, which may use the store paths $libraries; $libc is libc's.

- usr/ and the architecture's library folder go: usr/lib/x86_64-linux-gnu/libz.so.1 is lib/libz.so.1, as in nixpkgs;
- documentation, translations and what is for /etc and /var go, and what $drop names;
- links are led to where their target now is, in this path or in a dependency's;
- ELF files find their libraries (elf.py);
- $replace, lines "FILE OLD NEW", changes a text that a program has compiled in, in place.
"""

import json
import os
import posixpath
import shutil
import subprocess
import sys
from pathlib import Path

import elf

DROPPED = ["var", "etc", "share/doc", "share/man", "share/locale", "share/info", "share/lintian", "share/bug", "share/doc-base"]


def place(path: str) -> str:
    """Where a path of Debian's lies in a store path."""
    parts = [part for part in path.strip("/").split("/") if part]
    if parts[:1] == ["usr"]:
        parts = parts[1:]
    if parts[:1] == ["lib64"]:
        parts[0] = "lib"
    if parts[:2] == ["lib", "x86_64-linux-gnu"]:
        del parts[1]
    return "/".join(parts)


def move(source: Path, out: Path, links: dict[str, str]) -> None:
    """Moves an unpacked package into `out`; notes its links, as Debian's absolute paths, in `links`."""
    for folder, folders, files in os.walk(source):
        inside = "/" + str(Path(folder).relative_to(source)).lstrip(".")
        for name in folders + files:
            path = Path(folder, name)
            target = out / place(posixpath.join(inside, name))
            if path.is_symlink():
                links[place(posixpath.join(inside, name))] = posixpath.normpath(posixpath.join(inside, os.readlink(path)))
            elif path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                shutil.move(path, target)


def link(out: Path, links: dict[str, str], libraries: list[Path]) -> None:
    known = {name: place(target) for name, target in links.items()}
    for name, target in sorted(known.items()):
        if name == target or name == "lib":
            continue
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        homes = [tree for tree in libraries if (tree / target).exists()]
        if (out / target).exists() or target in known or not homes:
            path.symlink_to(os.path.relpath(out / target, path.parent))
        else:
            path.symlink_to(homes[0] / target)


def main() -> None:
    attrs = json.loads(Path(os.environ["NIX_ATTRS_JSON_FILE"]).read_text())
    out = Path(attrs["outputs"]["out"])
    libraries = [Path(path) for path in attrs["libraries"]]
    out.mkdir()
    links: dict[str, str] = {}
    for number, deb in enumerate(attrs["debs"]):
        tree = Path(f"deb-{number}").absolute()
        subprocess.run(["dpkg-deb", "-x", deb, str(tree)], check=True)
        move(tree, out, links)
    link(out, links, libraries)
    for name in DROPPED + attrs["drop"]:
        for path in sorted(out.glob(name)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for folder, _, _ in os.walk(out, topdown=False):
        if folder != str(out) and not os.listdir(folder):
            os.rmdir(folder)
    for name, old, new in attrs["replace"]:
        replace(out / name, old.encode(), new.encode())
    elf.patch_tree(out, Path(attrs["libc"] or out), libraries)


def replace(path: Path, old: bytes, new: bytes) -> None:
    """Replaces a C string; what follows it in the file stays where it is."""
    text = path.read_bytes()
    if b"\0" + old + b"\0" not in text or len(new) > len(old):
        sys.exit(f"{path}: has no text {old.decode()} that {new.decode()} fits into")
    path.write_bytes(text.replace(b"\0" + old + b"\0", b"\0" + new.ljust(len(old), b"\0") + b"\0"))


if __name__ == "__main__":
    main()
