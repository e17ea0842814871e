#!/bin/bash
# Runs all tests, and says at the end what each part came to and how long it took, beside what is kept of an earlier run in
# tests/seconds.tsv. Called by `make test`.
#
#   1. modules     the NixOS modules with good and bad options
#   2. compile     the workspace, its tests and its benchmarks
#   3. artefacts   every role's image, the VM and its disk, built once for all that follows
#   4. tests       unit and integration tests, those of images, Docker and the VM with what 3 built
#   5. fresh       a Debian root made at that moment, where `make up` brings what it runs, and `make setup-tests` what tests use
#   6. flake       the checks of `nix flake check`: formatting, images the same bytes twice, machines that boot
#
#   7. nixpkgs     every output and example on nixpkgs itself, where NIXPKGS names a checkout
#   8. scenarios   each of the guide's scenarios in a machine of its own, from nothing; where FLOWKIT_TEST_PARTS asks for it only
#
# 1 and 2 run beside 3, and 5 beside 6: each is for minutes one program that uses one processor, or waits for apt.
# 1, 3 and 6 take tests/debian in the place of nixpkgs. FLOWKIT_TEST_PARTS="tests" runs some parts only.
set -uo pipefail
cd "$(dirname "$0")/.."

parts=${FLOWKIT_TEST_PARTS:-modules compile artefacts tests fresh flake nixpkgs}
log=$(mktemp)
# Where a test that can't run here says so (tests/it/support/skip.rs); a runner keeps what a passed test prints.
export FLOWKIT_TEST_SKIPS=$log.skips
# Parts that run beside others, by the number of their processes' group.
declare -A begun=()
end() {
    local group
    for group in "${begun[@]}"; do kill -- "-$group" 2>/dev/null; done
    rm -f "$log" "$log".* "$FLOWKIT_TEST_SKIPS"
}
trap end EXIT
trap 'exit 143' TERM INT HUP
: >"$FLOWKIT_TEST_SKIPS"
status=0
summary=()
# Jiffies that all processors together have worked and idled since the machine was started.
jiffies() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8, $5 + $6 }' /proc/stat; }

# Seconds of each part: as they are kept, and as they are now.
kept=tests/seconds.tsv
seconds=target/seconds.tsv
mkdir -p target
cp "$kept" "$seconds"

# Clippy compiles the workspace, and a warning of its is an error: what `cargo clippy --all-targets -- --deny warnings` finds, without
# every dependency checked once more for it. These are the variables that cargo-clippy itself sets.
export RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
# What makes the next edit's compilation quicker makes this one slower.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL-0}

# Runs one part; what fails does not keep the others from being tried.
part() {
    local name=$1 start=$SECONDS outcome=passed before
    before=$(jiffies)
    shift
    asked_for "$name" || return 0
    printf '\n== %s\n' "$name"
    "$@" || outcome=FAILED
    came_to "$name" "$outcome" $((SECONDS - start)) "$before"
}

asked_for() {
    case " $parts " in *" $1 "*) ;; *) summary+=("$1: not asked for"); return 1 ;; esac
}

# Notes how part $1 ended and what it took; how busy the processors were, with whatever else ran, since the jiffies $4.
came_to() {
    local name=$1 outcome=$2 took=$3 last busy
    [ "$outcome" = passed ] || status=1
    last=$(sed -n "s/^$name\t//p" "$kept")
    busy=$(awk '{ worked = $3 - $1; idled = $4 - $2; printf "%d", 100 * worked / (worked + idled + 1) }' <<<"$4 $(jiffies)")
    summary+=("$name: $outcome in $took s${last:+ (last kept: $last s)}, processors $busy % busy")
    sed -i "/^$name\t/d" "$seconds"
    printf '%s\t%s\n' "$name" "$took" >>"$seconds"
}

# Begins a part that runs beside those that follow, until `finish` of the same name prints what it said.
begin() {
    local start=$SECONDS before
    asked_for "$1" || return 0
    before=$(jiffies)
    printf '\n== %s: begun\n' "$1"
    # A group of its own, which can be ended whole.
    set -m
    (
        outcome=passed
        "$1" || outcome=FAILED
        printf '\n%s %s %s\n' "$outcome" $((SECONDS - start)) "$before"
    ) >"$log.$1" 2>&1 </dev/null &
    begun[$1]=$!
    set +m
}

finish() {
    local outcome took before
    [ -n "${begun[$1]:-}" ] || return 0
    wait "${begun[$1]}"
    unset "begun[$1]"
    printf '\n== %s\n' "$1"
    sed '$d' "$log.$1"
    read -r outcome took before < <(tail -n1 "$log.$1")
    rm "$log.$1"
    # What was ended before it could say how it went has not passed.
    came_to "$1" "${outcome:-FAILED}" "${took:-0}" "${before:-0 0}"
}

# Benchmarks are only compiled.
compile() { cargo build --locked --workspace --all-targets; }

# cargo-nextest runs each test in a process of its own and reports better; plain `cargo test` does too. Tests wait for a third of their time: two
# more of them than there are processors keeps these busy.
tests() {
    local failed=0
    cargo build --locked --workspace --all-targets || failed=1
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --locked --workspace --no-fail-fast --test-threads $(($(nproc) + 2)) 2>&1 | tee -a "$log" || failed=1
    else
        cargo test --locked --workspace --no-fail-fast --lib --bins --examples --tests 2>&1 | tee -a "$log" || failed=1
    fi
    cargo test --locked --workspace --no-fail-fast --doc 2>&1 | tee -a "$log" || failed=1
    return $failed
}

modules() { scripts/test-modules.sh; }

# With what `tests` has compiled. The services are in a network of their own: an operator's FlowKit may run on this machine.
fresh() {
    scripts/fresh.sh bash -ec '
        export FLOWKIT_NO_ETL=1 FLOWKIT_NO_NOTEBOOKS=1
        make setup
        unshare --net bash -ec "
            ip link set lo up
            make up PROGRAM=target/debug/flowkit DEMO=\"--days 3 --subscribers 2000 --sites 60\"
            make down"
        FLOWKIT_NO_BROWSER=1 make setup-tests
        cargo test --locked --workspace --no-fail-fast --test it -- "$@"' fresh.sh \
        container:: flowdb::users flowmachine::redis image::docker image::others secrets::openssl unit:: walls::host 2>&1 | tee -a "$log"
}

# All outputs are evaluated, and all checks built but two: `clippy` and `unit-tests` would compile everything twice more, and
# `tests` has run the same on this tree. `nix flake check` builds those as well.
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

# Airflow takes minutes for what it does where the processor is emulated.
scenarios() {
    scripts/nix-artefacts.sh flowdb-etl-vm library-vm complete-vm flowauth-vm &&
        cargo nextest run --locked --workspace --no-fail-fast --run-ignored only --no-capture vm::scenarios 2>&1 | tee -a "$log"
}

# GiB that all parts together take at their fullest, and what of it stays in target/ (measured, from nothing: 17, and 12 of them).
room=20 stays=12
held=$(du --summarize --block-size=1G target | cut -f1)
free=$(df --output=avail --block-size=1G target | tail -n1)
if [ $((free + (held < stays ? held : stays))) -lt $room ]; then
    summary+=("disk: $((free)) GiB were free, and all parts together need $room with what is in target/: what failed may have failed for that")
    printf '%s\n' "${summary[-1]}"
fi

begin modules
begin compile
part artefacts scripts/nix-artefacts.sh
finish modules
finish compile
part tests tests
begin fresh
part flake flake
finish fresh
if [ -n "${NIXPKGS:-}" ]; then
    part nixpkgs scripts/test-nixpkgs.sh "$NIXPKGS"
else
    summary+=("nixpkgs: SKIPPED, as NIXPKGS names no checkout of it: nothing was evaluated on nixpkgs")
fi
case " $parts " in
    *" scenarios "*) part scenarios scenarios ;;
    *) summary+=("scenarios: SKIPPED, as Airflow alone takes tens of minutes in an emulated machine: FLOWKIT_TEST_PARTS=scenarios scripts/test.sh") ;;
esac

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
