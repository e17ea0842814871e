#!/bin/bash
# Brings every locked crate that is not here yet into a folder of the machine, each under its SHA-256, in one go.
#
#   fetch-crates.sh LIST    lines "sha256 name version"
#
# Out of what the machine's own cargo has already, else through it, with its settings.
set -euo pipefail
umask 002
list=$1
cache=/var/cache/flowkit/crates
mkdir -p $cache
exec 9<$cache
flock 9
. /etc/machine.env

missing() { while read -r sha256 rest; do [ -e "$cache/$sha256" ] || echo "$sha256 $rest"; done <"$list"; }
# Takes what is wanted from a cargo home.
take() {
    local sha256 name version file
    while read -r sha256 name version; do
        for file in "$1"/registry/cache/*/"$name-$version.crate"; do
            [ -f "$file" ] && [ "$(sha256sum <"$file")" = "$sha256  -" ] || continue
            cp --no-preserve=mode "$file" "$cache/.$sha256"
            mv "$cache/.$sha256" "$cache/$sha256"
            break
        done
    done < <(missing)
}

take "$CARGO_HOME"
[ -n "$(missing)" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/home" "$work/src"
cp "$CARGO_HOME"/config* "$work/home" 2>/dev/null || true
# A package that wants exactly these, and nothing of what is optional in them.
{
    printf '[package]\nname = "wanted"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n'
    while read -r _ name version; do
        printf '"%s" = { package = "%s", version = "=%s", default-features = false }\n' "c-$name-${version//[^0-9a-zA-Z]/-}" "$name" "${version%%+*}"
    done <"$list"
} >"$work/Cargo.toml"
touch "$work/src/lib.rs"
(cd "$work" && PATH=$CARGO_HOME/bin:$PATH CARGO_HOME=$work/home cargo fetch --quiet)
take "$work/home"
[ -z "$(missing)" ] || { missing | sed 's/^[^ ]*/fetch-crates: could not be had:/' >&2; exit 1; }
