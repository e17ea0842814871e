#!/bin/bash
# Evaluates everything that the flake gives out and that the manual shows on a checkout of nixpkgs (tests/nixpkgs), and
# compares what comes of it with what tests/debian makes of it. Builds nothing. Called by `make test-nixpkgs NIXPKGS=DIR`.
#
# DIR may have no .git. Where it lacks nixpkgs' list of Haskell's packages, or has modules of NixOS commented out of their
# list, as nixpkgs made small for publishing has, a copy of it is made whole; what a stub takes part in is said.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(realpath "${1:?which checkout of nixpkgs: make test-nixpkgs NIXPKGS=DIR}")
[ -f "$dir/nixos/lib/eval-config.nix" ] || { echo "test-nixpkgs: $dir is no checkout of nixpkgs" >&2; exit 2; }

nix=(nix --extra-experimental-features "nix-command flakes")
shell=()
if ! command -v nix >/dev/null; then nix=(scripts/nix.sh) shell=(scripts/nix.sh --shell); fi
work=target/nix/nixpkgs
log=$(mktemp) needs=$(mktemp)
trap 'rm -rf "$log" "$needs" "$work"*' EXIT
status=0 stubs=()

revision="of no known revision"
[ ! -e "$dir/.git" ] || revision=$(git -c safe.directory='*' -C "$dir" log -1 --format='%H of %cs')
printf 'nixpkgs %s, %s\n' "$(cat "$dir/lib/.version")" "$revision"

# --- the tree, whole, in the store ---
rm -rf "$work"
mkdir -p "$work"
tar -C "$dir" --exclude=./.git -cf - . | tar -C "$work" -xf -
list=$work/nixos/modules/module-list.nix
if grep -q '#\./' "$list"; then
    printf 'put in again: %s modules of NixOS that are commented out\n' "$(grep -c '#\./' "$list")"
    sed -i 's|#\./|./|' "$list"
fi
if [ ! -e "$work/pkgs/development/haskell-modules/hackage-packages.nix" ]; then
    echo "stubs for the list of Haskell's packages: ShellCheck, nixfmt"
    cp tests/nixpkgs/hackage-packages.nix "$work/pkgs/development/haskell-modules/"
    cp tests/nixpkgs/nixfmt.nix "$work/pkgs/by-name/ni/nixfmt/package.nix"
    stubs=(ShellCheck-stub nixfmt-stub)
fi
tree=$("${nix[@]}" store add-path --name source "$PWD/$work")

# --- everything is evaluated ---
template=$PWD/$work.template
rm -rf "$template"
cp -r templates/default "$template"
cp tests/nixpkgs/configuration.nix "$template/"
# The flake as everybody gets it: what git tracks.
flake=$(scripts/nix.sh --flake)
case $flake in /*) flake=git+file://$flake ;; esac
# A function of tests/nixpkgs, with the package set in some place.
evaluate() {
    "${nix[@]}" eval --impure --no-allow-import-from-derivation --json --expr "
        ($2) (import ((builtins.getFlake \"$flake\").outPath + \"/tests/nixpkgs\") { nixpkgs = builtins.getFlake \"path:$1\"; template = $template; })" 2>"$log"
}
mapfile -t groups < <(evaluate "$tree" 'it: builtins.attrNames it.outputs' | jq -r '.[]')
[ ${#groups[@]} != 0 ] || { cat "$log"; exit 1; }
for group in "${groups[@]}"; do
    printf 'evaluating %s\n' "$group" >&2
    if evaluate "$tree" "it: it.outputs.\"$group\"" >"$work.$group.json"; then
        if grep 'evaluation warning' "$log"; then status=1; fi
        continue
    fi
    # One by one, then: which fails is named, and Nix may have ended for want of memory.
    for name in $(evaluate "$tree" "it: builtins.attrNames it.outputs.\"$group\"" | jq -r '.[]'); do
        evaluate "$tree" "it: { \"$name\" = it.outputs.\"$group\".\"$name\"; }" || cat "$log" >&2
    done | jq -s 'add // {}' >"$work.$group.json"
done

# What a stub takes part in: all that needs its derivation.
"${shell[@]}" bash -c '
    shopt -s nullglob
    for stub; do for drv in /nix/store/*-"$stub".drv; do nix-store --query --referrers-closure "$drv"; done; done' \
    bash "${stubs[@]}" | sort -u >"$needs"
row() { printf '%-26s %9s  %s\n' "$@"; }
row OUTPUTS EVALUATED "WITH A STUB"
for group in "${groups[@]}"; do
    all=$(evaluate "$tree" "it: builtins.attrNames it.outputs.\"$group\"") names=$(jq -c 'keys' "$work.$group.json")
    [ "$all" = "$names" ] || status=1
    row "$group" "$(jq length <<<"$names") of $(jq length <<<"$all")" \
        "$(jq -r 'to_entries[] | "\(.value) \(.key)"' "$work.$group.json" | grep -Ff "$needs" | cut -d' ' -f2- | paste -sd' ')"
done

# --- and comes to what tests/debian makes of it ---
evaluate "$tree" 'it: it.rendered' >"$work.nixpkgs.json" || { cat "$log"; exit 1; }
evaluate "$PWD/tests/debian" 'it: it.rendered' >"$work.debian.json" || { cat "$log"; exit 1; }
python3 tests/nixpkgs/compare.py tests/debian/README.md "$work.nixpkgs.json" "$work.debian.json" || status=1
exit $status
