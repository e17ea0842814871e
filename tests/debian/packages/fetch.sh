#!/bin/bash
# Brings every locked file that is not here yet into a folder of the machine, each under its SHA-256, in one go: one
# connection for all of them is several times quicker than a call each.
#
#   fetch.sh debs LIST      Debian's packages: lines "sha256 file name version", file as in the mirror's index (pool/main/…)
#   fetch.sh crates LIST    crates: lines "sha256 name version"
#   fetch.sh wheels LIST    files of Python packages: lines as of crates. What can't be had so is left to who wants it
set -euo pipefail
umask 002
kind=$1 list=$2 cache=/var/cache/flowkit/$1
mkdir -p "$cache"
exec 9<"$cache"
flock 9

missing() { while read -r sha256 rest; do [ -e "$cache/$sha256" ] || echo "$sha256 $rest"; done <"$list"; }

# By apt from the mirror that it uses, and checked by it. Says which are gone from there.
fetch_debs() {
    local mirror gone
    mirror=$(sed -n 's/^deb \(\[.*\] \)\?\(http[^ ]*\) .*/\2/p' /etc/apt/sources.list | head -n1)
    [ -n "$mirror" ] || { echo "fetch: apt has no mirror in /etc/apt/sources.list" >&2; exit 1; }
    missing | while read -r sha256 file _; do printf '%s\0%s\0SHA256:%s\0' "${mirror%/}/${file//+/%2b}" "$work/$sha256" "$sha256"; done >"$work/arguments"
    xargs -0 --no-run-if-empty /usr/lib/apt/apt-helper -qq download-file <"$work/arguments" >&2 || true
    rm "$work/arguments"
    find "$work" -type f -name '????????????????????????????????????????????????????????????????' -exec mv -t "$cache" {} +
    gone=$(missing | while read -r _ _ name version; do echo "  $name $version"; done)
    [ -z "$gone" ] || {
        printf 'fetch: could not be had from %s:\n%s\n' "$mirror" "$gone" >&2
        echo "fetch: Debian drops versions that are superseded. make relock locks the ones that it has now." >&2
        exit 1
    }
}

# Out of what the machine's own cargo has already, else through it, with its settings.
fetch_crates() {
    . /etc/machine.env
    take_crates "$CARGO_HOME"
    [ -n "$(missing)" ] || return 0
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
    take_crates "$work/home"
    [ -z "$(missing)" ] || { missing | sed 's/^[^ ]*/fetch: could not be had:/' >&2; exit 1; }
}

# Takes what is wanted from a cargo home.
take_crates() {
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

# By the machine's own pip, with its settings, which takes a second for a call and none for a file. No call takes two versions of a package.
fetch_wheels() {
    set -a; . /etc/machine.env; set +a
    local round
    missing | awk -v at="$work/round-" '{ print $2 "==" $3 " --hash=sha256:" $1 >(at (++seen[$2])) }'
    for round in "$work"/round-*; do
        HOME=$work /usr/bin/python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
            --require-hashes --dest "$work/files" --requirement "$round" >&2 || true
    done
    for round in "$work"/files/*; do
        [ ! -e "$round" ] || mv "$round" "$cache/$(sha256sum "$round" | cut -d " " -f 1)"
    done
    # Once is enough.
    rm "$list"
}

[ -e "$list" ] && [ -n "$(missing)" ] || exit 0
work=$(mktemp -d "$cache.XXXXXX")
trap 'rm -rf "$work"' EXIT
"fetch_$kind"
