#!/bin/bash
# Brings debs.lock.json up to what Debian has now (`make relock`), and prints what moved.
#
#   relock.sh              always
#   relock.sh --if-gone    only when a locked file can't be had any more: for CI, which goes on with what there is
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/nix.sh --shell python3 -B tests/debian/relock.py "$@"
