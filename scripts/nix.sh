#!/bin/bash
# Runs Nix on a Debian machine that has none, without touching the machine: `scripts/nix.sh build .#flowdb-image …`.
#
#   scripts/nix.sh ARGS…           `nix ARGS…`, from the directory where it is called
#   scripts/nix.sh --shell CMD…    another command in the same surroundings
#   scripts/nix.sh --root          the directory of those surroundings, made if need be
#   scripts/nix.sh --host PATH     where a path of the store lies on this machine
#   scripts/nix.sh --flake         how to name this tree's flake: Nix reads what git tracks, and where there is no git
#                                  (an unpacked archive), a copy without target/
#
# The surroundings are a Debian 13 root of its own (its Nix is 2.26; Debian 12's, 2.8, is too old) in target/nix/root, or
# in FLOWKIT_NIX_ROOT, made by mmdebstrap from the mirror that this machine's own apt uses. The host's apt sources stay
# as they are. It is entered in a mount namespace of its own, with this tree, the Rust toolchain and the machine's own
# settings for the language registries mounted at their usual places. Needs root, to mount.
set -euo pipefail

tree=$(cd "$(dirname "$0")/.." && pwd -P)
# A worktree's history lies elsewhere.
history=$(git -c safe.directory='*' -C "$tree" rev-parse --path-format=absolute --git-common-dir 2>/dev/null || true)
[ "$(git -c safe.directory='*' -C "$tree" rev-parse --show-toplevel 2>/dev/null || true)" = "$tree" ] || history=
root=${FLOWKIT_NIX_ROOT:-$tree/target/nix/root}
# Runs a command in a mount namespace of its own.
within=(unshare --mount --propagation private "$0" --enter)
say() { printf 'nix.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# What Nix itself needs, what tests/debian builds with, and QEMU with the tools that make disks for it.
packages=nix-bin,git,ca-certificates,gcc,libc6-dev,make,patchelf,python3,python3-pip,unzip,zip,xz-utils,zstd,jq,file
packages+=,qemu-system-x86,qemu-utils,ovmf,erofs-utils,systemd,systemd-repart,mtools,dosfstools,e2fsprogs,fdisk,mmdebstrap,fakeroot,shellcheck,bubblewrap

# The mirror of Debian itself that apt uses here; its security archive has no suite of the right name.
mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)' | sed -n 's/^Debian|//p' | grep -v -- -security | sort -u | head -n1)
    [ -n "$uri" ] || fail "apt knows no mirror of Debian: is this Debian, and has it its package lists (apt-get update)?"
    printf '%s\n' "$uri"
}

# A folder of links to the programs of some of the root's packages.
folder_of() {
    local folder=$root/usr/lib/$1 package program
    shift
    mkdir -p "$folder"
    for package; do
        for program in $(grep -hE '^(/usr)?/s?bin/.' "$root"/var/lib/dpkg/info/"$package"{,:amd64}.list 2>/dev/null); do
            ln -sfn "$program" "$folder"
        done
    done
}

make_root() {
    command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: apt-get install mmdebstrap (make setup-tests does it)"
    say "making a Debian 13 root with Nix in $root"
    mkdir -p "$(dirname "$root")"
    # Finished when it has its last file: a half-made one is made again.
    [ ! -e "$root" ] || mv "$root" "$root.broken.$$"
    mmdebstrap --quiet --variant=apt --include="$packages" trixie "$root" "$(mirror)" >&2
    # What every builder finds without asking, as in nixpkgs.
    folder_of stdenv bash coreutils findutils diffutils sed grep mawk tar gzip bzip2 make patch xz-utils file patchelf
    folder_of stdenv-cc gcc binutils
    ln -sfn /usr/bin/awk "$root/usr/lib/stdenv"
    ln -sfn /usr/bin/cc "$root/usr/lib/stdenv-cc"
    mkdir -p "$root/etc/nix" "$root/nix"
    # Nobody of these can be logged in; each runs one build at a time.
    local number users=()
    for number in {1..16}; do
        users+=("nixbld$number")
        printf 'nixbld%s:x:%s:30000::/var/empty:/usr/sbin/nologin\n' "$number" $((30000 + number)) >>"$root/etc/passwd"
    done
    printf 'nixbld:x:30000:%s\n' "$(IFS=,; echo "${users[*]}")" >>"$root/etc/group"
    # Which builders share (not set-gid: the sandbox lets nobody set that bit).
    install -d -m 775 -g 30000 "$root"/var/cache/flowkit{,/crates,/debs,/rust,/wheels}
    cat >"$root/etc/nix/nix.conf" <<-CONF
	experimental-features = nix-command flakes
	# No daemon, no cache: what is asked for is built here, by build users in the sandbox, as on any NixOS machine.
	build-users-group = nixbld
	sandbox = true
	# What tests/debian builds with (its README says why): this root's programs, and what is fetched once for all builds.
	sandbox-paths = /bin /sbin /lib /lib64 /usr /etc/alternatives /etc/apt /etc/ld.so.cache /etc/machine.env /var/cache/flowkit
	substituters =
	# What a power cut takes is built again.
	fsync-metadata = false
	warn-dirty = false
	CONF
    printf '%s\n' "$packages" >"$root/etc/flowkit-nix-root"
    rm -rf "$root".broken.*
}

ensure_root() {
    [ "$(id -u)" = 0 ] || fail "needs root, to mount; try: sudo --preserve-env=CARGO_HOME,RUSTUP_HOME,PATH $0"
    mkdir -p "$(dirname "$root")"
    exec 9>"$root.lock"
    flock 9
    [ "$(cat "$root/etc/flowkit-nix-root" 2>/dev/null)" = "$packages" ] || make_root
    exec 9>&-
}

# The Debian of virtual machines takes root to install, which no builder has (tests/debian/nixos/base.nix).
ensure_debian() {
    local recipe=$tree/tests/debian/nixos cache=/var/cache/flowkit/debian made
    made=$cache/$(cat "$recipe"/base.sh "$recipe"/initramfs/{hook,layers} | sha256sum | cut -d' ' -f1)
    exec 9>"$root.lock"
    flock 9
    if [ ! -d "$root$made" ]; then
        say "installing the Debian of virtual machines"
        rm -rf "${root:?}$cache"
        mkdir -p "$root$cache"
        "${within[@]}" "$recipe/base.sh" "$made"
    fi
    exec 9>&-
}

# A store path as the host sees it; links inside the store (of --out-link) are followed.
on_host() {
    local path=$1
    [ ! -L "$path" ] || path=$(readlink "$path")
    case $path in
        /nix/store/*) printf '%s\n' "$root$path" ;;
        *) printf '%s\n' "$path" ;;
    esac
}

flake_of_tree() {
    if [ -n "$history" ]; then
        printf '%s\n' "$tree"
        return
    fi
    local copy=$tree/target/nix/source
    rm -rf "$copy"
    mkdir -p "$copy"
    tar -C "$tree" --exclude=./target --exclude='./result*' -cf - . | tar -C "$copy" -xf -
    printf 'path:%s\n' "$copy"
}

# Settings of the language registries' clients, for builders, whose environment Nix clears.
machine_settings() {
    export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
    env | grep -iE '^(PIP_[A-Z_]*|CARGO_[A-Z_]*|RUSTUP_[A-Z_]*|https?_proxy|no_proxy|all_proxy|SSL_CERT_FILE)=' |
        while IFS='=' read -r name value; do printf 'export %s=%q\n' "$name" "$value"; done
}

# Runs in the new mount namespace.
enter() {
    local place seen=()
    mount --rbind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    for place in "$tree" $history "$CARGO_HOME" "$RUSTUP_HOME" ${PIP_FIND_LINKS:-} ${NIXPKGS_LIB:-}; do
        case $place in "$tree"/*) continue ;; esac
        [ -d "$place" ] || continue
        mkdir -p "$root$place"
        mount --bind "$place" "$root$place"
        # Builders too, but for what is ours.
        case $place in "$tree" | "$history") ;; *) seen+=("$place") ;; esac
    done
    # Copies: Nix empties the file below the bundle of certificates when it shows it to a builder.
    for place in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [ -f "$place" ] || continue
        cp --remove-destination --no-preserve=ownership "$place" "$root$place.$$"
        mv "$root$place.$$" "$root$place"
    done
    [ ! -f /etc/pip.conf ] || seen+=(/etc/pip.conf)
    # Of our four programs three wait for the one that is compiled: so many builds more than there are processors.
    jobs=$(($(nproc) + 3))
    # What images/run-vm.sh is told.
    local told
    mapfile -t told < <(env | grep -E '^(FLOWKIT_VM_[A-Z]+|[A-Z]+_(HOST_PORT|ETL_DIR|HOST_DAG_DIR|INPUTS_DIR))=')
    exec chroot "$root" /usr/bin/env -i "${told[@]}" HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:"$CARGO_HOME/bin" \
        GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
        BASH_ENV=/etc/machine.env FLOWKIT_TREE="$tree" NIX_CONFIG="extra-sandbox-paths = ${seen[*]}
max-jobs = $jobs" \
        bash -c 'cd "$1" 2>/dev/null || cd "$FLOWKIT_TREE"; shift; exec "$@"' bash "$PWD" "$@"
}

case ${1:-} in
    --root) ensure_root; echo "$root"; exit ;;
    --host) on_host "$2"; exit ;;
    --flake) flake_of_tree; exit ;;
    --enter) shift; . "$root/etc/machine.env"; enter "$@" ;;
    --shell) shift; command=("$@") ;;
    *)
        command=(nix "$@")
        # Nix ends whatever runs as a build user that it is about to use, here also another root's: it shall see its own only.
        within=(unshare --mount --pid --fork --kill-child --propagation private "$0" --enter)
        ;;
esac
ensure_root
machine_settings >"$root/etc/machine.env.$$"
mv "$root/etc/machine.env.$$" "$root/etc/machine.env"
ensure_debian
exec "${within[@]}" "${command[@]}"
