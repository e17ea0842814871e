#!/bin/bash
# Runs all tests, and says at the end what each part came to and how long it took, beside what is kept of an earlier run in
# tests/seconds.tsv. Called by `make test` after lint.
#
#   1. modules     the NixOS modules with good and bad options
#   2. artefacts   every role's image, the VM and its disk, built once for all that follows
#   3. tests       unit and integration tests, those of images, Docker and the VM with what 2 built
#   4. fresh       a Debian root made at that moment, where `make up` brings what it runs, and `make setup-tests` what tests use
#   5. flake       the checks of `nix flake check`: formatting, images the same bytes twice, machines that boot
#
#   6. nixpkgs     every output and example on nixpkgs itself, where NIXPKGS names a checkout
#
# 1, 2 and 5 take tests/debian in the place of nixpkgs. FLOWKIT_TEST_PARTS="tests" runs some parts only.
set -uo pipefail
cd "$(dirname "$0")/.."

parts=${FLOWKIT_TEST_PARTS:-modules artefacts tests fresh flake nixpkgs}
log=$(mktemp)
# Where a test that can't run here says so (tests/it/support/skip.rs); a runner keeps what a passed test prints.
export FLOWKIT_TEST_SKIPS=$log.skips
trap 'rm -f "$log" "$FLOWKIT_TEST_SKIPS"' EXIT
: >"$FLOWKIT_TEST_SKIPS"
status=0
summary=()
# Seconds of each part: as they are kept, and as they are now.
kept=tests/seconds.tsv
seconds=target/seconds.tsv
mkdir -p target
cp "$kept" "$seconds"

# Runs one part; what fails does not keep the others from being tried.
part() {
    local name=$1 start=$SECONDS outcome=passed took before
    shift
    case " $parts " in *" $name "*) ;; *) summary+=("$name: not asked for"); return ;; esac
    printf '\n== %s\n' "$name"
    "$@" || { outcome=FAILED; status=1; }
    took=$((SECONDS - start))
    before=$(sed -n "s/^$name\t//p" "$kept")
    summary+=("$name: $outcome in $took s${before:+ (last kept: $before s)}")
    sed -i "/^$name\t/d" "$seconds"
    printf '%s\t%s\n' "$name" "$took" >>"$seconds"
}

# cargo-nextest runs each test in a process of its own and reports better; plain `cargo test` does too.
tests() {
    local failed=0
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --locked --workspace --no-fail-fast 2>&1 | tee -a "$log" || failed=1
    else
        cargo test --locked --workspace --no-fail-fast --lib --bins --examples --tests 2>&1 | tee -a "$log" || failed=1
    fi
    cargo test --locked --workspace --no-fail-fast --doc 2>&1 | tee -a "$log" || failed=1
    return $failed
}

# With what `tests` has compiled. The services are in a network of their own: an operator's FlowKit may run on this machine.
fresh() {
    scripts/fresh.sh bash -ec '
        export FLOWKIT_NO_ETL=1
        make setup
        unshare --net bash -ec "
            ip link set lo up
            make up PROGRAM=target/debug/flowkit DEMO=\"--days 3 --subscribers 2000 --sites 60\"
            make down"
        FLOWKIT_NO_BROWSER=1 make setup-tests
        cargo test --locked --workspace --no-fail-fast --test it -- "$@"' fresh.sh \
        container:: flowdb::users flowmachine::redis image::docker image::others secrets::openssl unit:: walls::host 2>&1 | tee -a "$log"
}

# All outputs are evaluated, and all checks built but two: `clippy` and `unit-tests` would compile everything twice more, and lint
# and `tests` have run the same on this tree. `nix flake check` builds those as well.
flake() {
    local flake checks names given=(--no-write-lock-file --override-input nixpkgs "path:$PWD/tests/debian")
    flake=$(scripts/nix.sh --flake)
    checks="$flake#checks.x86_64-linux"
    scripts/nix.sh flake check "$flake" "${given[@]}" --no-build || return
    read -ra names < <(scripts/nix.sh eval "${given[@]}" --raw "$checks" \
        --apply 'checks: toString (builtins.attrNames (removeAttrs checks [ "clippy" "unit-tests" ]))' && echo)
    [ "${#names[@]}" -gt 0 ] || return
    scripts/nix.sh build "${given[@]}" --no-link --keep-going --print-build-logs "${names[@]/#/$checks.}"
}

part modules scripts/test-modules.sh
part artefacts scripts/nix-artefacts.sh
part tests tests
part fresh fresh
part flake flake
if [ -n "${NIXPKGS:-}" ]; then
    part nixpkgs scripts/test-nixpkgs.sh "$NIXPKGS"
else
    summary+=("nixpkgs: SKIPPED, as NIXPKGS names no checkout of it: nothing was evaluated on nixpkgs")
fi

# Adds up the closing lines of both runners: "12 passed", "1 failed".
total() { sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E '^ *Summary |^test result:' | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'; }
echo
sort "$FLOWKIT_TEST_SKIPS"
printf '%s\n' "${summary[@]}"
# The runners count a test that was skipped as passed: it ended well.
skipped=$(wc -l <"$FLOWKIT_TEST_SKIPS")
echo "$(($(total passed) - skipped)) passed, $skipped skipped, $(total failed) failed"
echo "the seconds are in $seconds: copied to $kept they are what the next runs are held against"
exit $status
