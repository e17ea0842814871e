"""Points ELF files at the store: the interpreter at libc's, the run path at the folders that hold what is needed.

A file is given the folders of the libraries that it names itself and no others, so that a store path refers to exactly
what its programs load. As a program: elf.py --libc LIBC TREE-OR-FILE DEPENDENCY...
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

# libc's own parts know their way; changing them breaks them.
UNTOUCHED = {"ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6"}


def patchelf(*args: str) -> str | None:
    """What patchelf prints, or nothing where a file has no such part."""
    done = subprocess.run(["patchelf", *args], text=True, capture_output=True)
    return done.stdout.strip() if done.returncode == 0 else None


def elf_files(tree: Path) -> list[Path]:
    if tree.is_file():
        return [tree]
    found = []
    for folder, _, names in os.walk(tree):
        for name in names:
            path = Path(folder, name)
            if path.is_symlink() or name in UNTOUCHED or "gconv" in path.parts:
                continue
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    found.append(path)
    return sorted(found)


def shared_objects(trees: list[Path]) -> dict[str, Path]:
    """The folder of every shared object, by name; earlier trees win, and in a tree the shallower folder."""
    found: dict[str, Path] = {}
    for tree in trees:
        here = [path for path in tree.rglob("*.so*") if path.exists() and not path.is_dir()]
        for path in sorted(here, key=lambda path: (len(path.parts), path)):
            found.setdefault(path.name, path.parent)
    return found


def patch(path: Path, libraries: dict[str, Path], libc: Path) -> list[str]:
    """Patches one file; returns the names that nothing provides."""
    needed = patchelf("--print-needed", str(path))
    if needed is None:  # static
        return []
    kept = [part for part in (patchelf("--print-rpath", str(path)) or "").split(":") if part.startswith("$ORIGIN")]
    beside = names_beside(path, kept)
    folders, missing = list(kept), []
    for name in needed.split():
        if name in {"ld-linux-x86-64.so.2"} or name in beside:
            continue
        folder = libraries.get(name)
        if folder is None:
            missing.append(name)
        elif str(folder) not in folders:
            folders.append(str(folder))
    mode = path.stat().st_mode
    path.chmod(mode | 0o200)
    change = ["--force-rpath", "--set-rpath", ":".join(folders)] if folders else ["--remove-rpath"]
    subprocess.run(["patchelf", *change, str(path)], check=True)
    # After it and on its own: in the other order, and at once, patchelf 0.18 breaks programs that are not PIE.
    if patchelf("--print-interpreter", str(path)):
        interpreter = str(libc / "lib/ld-linux-x86-64.so.2")
        subprocess.run(["patchelf", "--set-interpreter", interpreter, str(path)], check=True)
    path.chmod(mode)
    return missing


def names_beside(path: Path, origins: list[str]) -> set[str]:
    """What lies in the folders that a file already names relative to itself."""
    folders = [Path(part.replace("$ORIGIN", str(path.parent))) for part in origins]
    return {entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir()}


def patch_tree(tree: Path, libc: Path, dependencies: list[Path]) -> None:
    libraries = shared_objects([tree, *dependencies, libc])
    unmet = {}
    for path in elf_files(tree):
        if missing := patch(path, libraries, libc):
            unmet[path] = missing
    for path, missing in unmet.items():
        print(f"elf: {path} needs {', '.join(missing)}, which no dependency has", file=sys.stderr)
    if unmet:
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--libc", type=Path, required=True)
    parser.add_argument("tree", type=Path)
    parser.add_argument("dependencies", type=Path, nargs="*")
    args = parser.parse_args()
    patch_tree(args.tree, args.libc, args.dependencies)


if __name__ == "__main__":
    main()
