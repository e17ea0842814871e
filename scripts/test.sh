#!/bin/bash
# Runs all tests, and says at the end in one line how many passed. Called by `make test` after lint.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0

# cargo-nextest runs each test in a process of its own and reports better; plain `cargo test` does too.
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --no-fail-fast 2>&1 | tee -a "$log" || status=1
else
    cargo test --locked --no-fail-fast --lib --bins --examples --tests 2>&1 | tee -a "$log" || status=1
fi
cargo test --locked --no-fail-fast --doc 2>&1 | tee -a "$log" || status=1

# Adds up the closing lines of both runners: "12 passed", "1 failed".
total() { sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E '^ *Summary |^test result:' | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'; }
echo
echo "$(total passed) passed, $(total failed) failed"
exit $status
