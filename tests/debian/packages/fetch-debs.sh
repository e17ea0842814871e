#!/bin/bash
# Brings every locked Debian package that is not here yet into a folder of the machine, each under its SHA-256, in one go:
# one connection for all of them is several times quicker than an apt call a package.
#
#   fetch-debs.sh LIST    lines "sha256 file name version", file as in the mirror's index (pool/main/…)
#
# Fetched by apt from the mirror that it uses, and checked by it. Says which are gone from there.
set -euo pipefail
umask 002
list=$1
cache=/var/cache/flowkit/debs
mkdir -p $cache
exec 9<$cache
flock 9

missing() { while read -r sha256 rest; do [ -e "$cache/$sha256" ] || echo "$sha256 $rest"; done <"$list"; }
[ -n "$(missing)" ] || exit 0
mirror=$(sed -n 's/^deb \(\[.*\] \)\?\(http[^ ]*\) .*/\2/p' /etc/apt/sources.list | head -n1)
[ -n "$mirror" ] || { echo "fetch-debs: apt has no mirror in /etc/apt/sources.list" >&2; exit 1; }
work=$(mktemp -d $cache.XXXXXX)
trap 'rm -rf "$work"' EXIT
missing | while read -r sha256 file _; do printf '%s\0%s\0SHA256:%s\0' "${mirror%/}/${file//+/%2b}" "$work/$sha256" "$sha256"; done >"$work/arguments"
xargs -0 --no-run-if-empty /usr/lib/apt/apt-helper -qq download-file <"$work/arguments" >&2 || true
rm "$work/arguments"
find "$work" -type f -name '????????????????????????????????????????????????????????????????' -exec mv -t $cache {} +
gone=$(missing | while read -r _ _ name version; do echo "  $name $version"; done)
[ -z "$gone" ] || {
    printf 'fetch-debs: could not be had from %s:\n%s\n' "$mirror" "$gone" >&2
    echo "fetch-debs: Debian drops versions that are superseded. make relock locks the ones that it has now." >&2
    exit 1
}
