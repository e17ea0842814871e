#!/bin/bash
# Evaluates the NixOS modules with good and bad options, and writes or checks their option reference.
#
#   scripts/test-modules.sh           the cases of tests/modules, with the messages of what is refused
#   scripts/test-modules.sh --docs    writes docs/reference/options.md
#
# By the library of tests/debian, or by that of nixpkgs where NIXPKGS_LIB names a checkout of it (or of its lib alone).
set -euo pipefail
cd "$(dirname "$0")/.."

nix=(nix --extra-experimental-features "nix-command flakes")
command -v nix >/dev/null || nix=(scripts/nix.sh)
lib=${NIXPKGS_LIB:+$(realpath "$NIXPKGS_LIB")/lib}
lib=${lib:-$PWD/tests/debian/lib}
evaluate() { "${nix[@]}" eval --impure --expr "let lib = import $lib; in $1" "${@:2}"; }

if [ "${1:-}" = --docs ]; then
    evaluate "(import $PWD/modules/lib/reference.nix { inherit lib; }).text" --raw >docs/reference/.options.md
    mv docs/reference/.options.md docs/reference/options.md
    exit
fi

tests="import $PWD/tests/modules { inherit lib; }"
failures=$(evaluate "lib.concatStringsSep \"\\n\" ($tests).failures" --raw)
# What is refused has a message, which only the outside sees.
while IFS=$'\t' read -r name expected; do
    said=$(evaluate "($tests).refusals.$name.units" --raw 2>&1 >/dev/null || true)
    [[ $said == *"$expected"* ]] || failures+=$'\n'"$name: expected \"$expected\", got: ${said##*error: }"
done < <(evaluate "let all = ($tests).refusals; in lib.concatMapStrings (name: \"\${builtins.toJSON name}\t\${all.\${name}.message}\n\") (lib.attrNames all)" --raw)

if [ -n "$failures" ]; then
    printf '%s\n' "$failures" >&2
    exit 1
fi
printf '%s cases hold, by %s\n' "$(evaluate "($tests).count" --json)" "$lib"
