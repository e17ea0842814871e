#!/bin/bash
# Makes python/requirements.txt, flowetl.txt, notebooks.txt, tools.txt and client.txt, and those of benchmarks, anew from the .in files beside them:
# the whole closure, each package at one version, with the hash of every file it was published as; and from the
# first three flowmachine-wheels.json, flowetl-wheels.json and notebooks-wheels.json: the files that Nix fetches of them. Needs the network; look at the diff.
#
#   scripts/relock-python.sh             keep the locked versions where the .in files allow
#   scripts/relock-python.sh --upgrade   take the newest that they allow
set -euo pipefail
cd "$(dirname "$0")/../python"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
/usr/bin/python3 -m venv "$work/uv"
"$work/uv/bin/pip" install --quiet uv==0.13.9
uv=("$work/uv/bin/uv" pip compile --quiet --universal --generate-hashes --python-version 3.11
    --custom-compile-command scripts/relock-python.sh "$@")

# cffi is for PyPy only.
"${uv[@]}" --override overrides.in --no-emit-package cffi --no-emit-package pycparser \
    --output-file requirements.txt requirements.in
"${uv[@]}" --output-file flowetl.txt flowetl.in
# A debugger and buttons in a browser, which nothing loads that has none.
"${uv[@]}" --no-emit-package debugpy --no-emit-package widgetsnbextension --no-emit-package jupyterlab-widgets \
    --output-file notebooks.txt notebooks.in
"${uv[@]}" --output-file tools.txt tools.in
"${uv[@]}" --output-file client.txt client.in
for bench in benches/flowapi crates/flowauth/benches/figures; do
    (cd "../$bench" && "${uv[@]}" --output-file requirements.txt requirements.in)
done

# Which published files of the lock $2 Nix fetches for the package $1.
lock_wheels() {
    "$work/uv/bin/uv" pip compile --quiet --universal --no-deps --python-version 3.13 --format pylock.toml \
        --output-file "$work/pylock.toml" "$2"
    "$work/uv/bin/python" ../scripts/lock-wheels.py "$work/pylock.toml" >"$work/wheels.json"
    mv "$work/wheels.json" "$1-wheels.json"
}
lock_wheels flowmachine requirements.txt
lock_wheels flowetl flowetl.txt
lock_wheels notebooks notebooks.txt
