#!/bin/bash
# Runs a command on a Debian machine that has just been made: `scripts/fresh.sh make test`.
#
# What was once installed by hand on the machine at hand hides that a script does not install it. So this makes a root
# directory of the machine's own release with mmdebstrap, holding little more than apt, make and git, hands Rust and the
# settings of the package registries in, and runs the command there as root, in this tree. The root goes afterwards;
# with FLOWKIT_KEEP_FRESH it stays, and its place is said.
#
# Needs root and mmdebstrap, which it installs with Debian's apt where it is missing.
set -euo pipefail

tree=$(cd "$(dirname "$0")/.." && pwd -P)
say() { printf 'fresh.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# What "a Debian machine with Rust" has beside the essential packages.
packages=ca-certificates,make,git,adduser,procps

# apt's sources of Debian itself, as this machine has them: others' are not part of a new machine.
sources() {
    apt-get indextargets --format '$(ORIGIN)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        sed -n 's/^Debian|//p' | sort -u
}

make_root() {
    command -v mmdebstrap >/dev/null || { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends mmdebstrap; } >&2
    say "making a Debian root of $(. /etc/os-release; echo "$VERSION_CODENAME")"
    sources | mmdebstrap --quiet --variant=important --include="$packages" "$(. /etc/os-release; echo "$VERSION_CODENAME")" "$1" - >&2
}

# What the registries' clients here are told, as copies: nothing that is installed in the new root may write to this machine's.
hand_in() {
    local file
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /usr/local/share/ca-certificates/*.crt; do
        [ ! -f "$file" ] || install -D -m 644 "$file" "$1$file"
    done
    file=$(command -v cargo-nextest || true)
    [ -z "$file" ] || install -D -m 755 "$file" "$1/usr/local/bin/cargo-nextest"
    env --unset=TMPDIR chroot "$1" update-ca-certificates >/dev/null
}

# Runs in mount and process namespaces of its own, in which the new root becomes the root.
enter() {
    local root=$1 place
    shift
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=0755 tmpfs "$root/run"
    for place in "$tree" "$CARGO_HOME" "$RUSTUP_HOME"; do
        mkdir -p "$root$place"
        mount --bind "$place" "$root$place"
    done
    cd "$root"
    mkdir .before
    pivot_root . .before
    umount -l /.before
    rmdir /.before
    cd "$tree"
    exec "$@"
}

if [ "${1:-}" = --enter ]; then
    shift
    enter "$@"
fi
[ $# -gt 0 ] || fail "name a command, such as make test"
[ "$(id -u)" = 0 ] || fail "needs root, to mount"
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
root=$(mktemp -d "${TMPDIR:-/tmp}/flowkit-fresh.XXXXXX")
chmod 755 "$root"
remove() { if [ -n "${FLOWKIT_KEEP_FRESH:-}" ]; then say "kept: $root"; else rm -rf --one-file-system "$root"; fi; }
trap remove EXIT
make_root "$root"
hand_in "$root"
unshare --mount --pid --fork --kill-child --propagation private \
    env --unset=PIP_FIND_LINKS --unset=TMPDIR PATH="$CARGO_HOME/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$0" --enter "$root" "$@"
