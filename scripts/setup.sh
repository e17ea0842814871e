#!/bin/bash
# Brings what FlowKit needs on a Debian machine and is quick when nothing is missing. Called by `make setup`.
#
#   1. Debian's own packages: PostgreSQL of this release with PostGIS, pgRouting and ogr_fdw; redis; Python's venv;
#      openssl; a C compiler; Pango and a font for reports, and poppler-utils, which reads them. Root, or sudo, is asked for only when one of them is missing. tds_fdw and the debugger of
#      PL/pgSQL come along where apt has them.
#      With --tests also what only the tests need: mmdebstrap (for scripts/nix.sh), the Docker engine (not started),
#      iproute2 (for its own network), skopeo and umoci (other readers of our images), libnss-wrapper (users without a
#      name in a container), zstd (which tar calls), pebble (an authority that gives certificates by ACME), chromium with its driver and a font, and npm, for the pages. A machine
#      that tests no pages says FLOWKIT_NO_BROWSER=1: those are 200 MB.
#   2. PREFIX/lib/flowkit/python: the Python environment of FlowMachine, from python/requirements.txt (hashes checked,
#      nothing resolved), with our launcher in it; and PREFIX/lib/flowkit/etl: FlowETL's, from python/flowetl.txt, 400 MB that a
#      machine without FlowETL does not need (FLOWKIT_NO_ETL=1); and PREFIX/lib/flowkit/notebooks: that of analysts' notebooks and
#      their reports, from python/notebooks.txt, 560 MB that FLOWKIT_NO_NOTEBOOKS=1 leaves out. With --tests also PREFIX/lib/flowkit/client: upstream's client and what
#      reads our answers and files, from python/client.txt; and PREFIX/lib/flowkit/axe: the accessibility checker axe, by npm
#      with its hash checked.
#
# PREFIX is /usr/local for root and ~/.local for others.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" = 0 ]; then as_root=(); else as_root=(sudo); fi
prefix=${PREFIX:-$([ "$(id -u)" = 0 ] && echo /usr/local || echo "$HOME/.local")}
python=/usr/bin/python3   # Debian's: an interpreter in someone's home could not be read by the services' user

for_tests=
[ "${1:-}" != --tests ] || for_tests=1

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# --- 0. What can only be asked for ----------------------------------------------------------------------------------

rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null || fail "cargo is missing: FlowKit is built with Rust $wanted or newer. rustup brings it (on Debian 13: apt install rustup, then rustup default stable)"
    have=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n1)" = "$wanted" ] ||
        fail "Rust $have is too old: FlowKit is built with $wanted or newer (rustup update stable)"
}

# --- 1. Debian's packages -------------------------------------------------------------------------------------------

# The versions of the installed PostgreSQL servers that have all the extensions, one a line.
complete_postgres() {
    local server extension major
    for server in /usr/lib/postgresql/*/bin/postgres; do
        [ -x "$server" ] || continue
        major=${server#/usr/lib/postgresql/}; major=${major%%/*}
        for extension in postgis postgis_raster pgrouting ogr_fdw file_fdw; do
            has_extension "$major" "$extension" || continue 2
        done
        echo "$major"
    done
}

has_extension() { [ -e "/usr/share/postgresql/$1/extension/$2.control" ]; }

postgres_is_complete() { [ -n "$(complete_postgres)" ]; }

# Packages of extensions that FlowDB adds where they are installed, for PostgreSQL $1. One that apt does not have is not
# missed, and for these alone nobody is asked for root.
optional_packages() {
    local extension package
    while read -r extension package; do
        has_extension "$1" "$extension" || ! apt-cache show --quiet=2 "$package" >/dev/null 2>&1 || echo "$package"
    done <<-END
	tds_fdw postgresql-$1-tds-fdw
	pldbgapi postgresql-$1-pldebugger
	END
}

# The packages to install, one a line.
missing_packages() {
    local major
    if ! postgres_is_complete; then
        # The release's metapackage names its version.
        major=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]\+\)$/\1/p' | head -n1)
        [ -n "$major" ] || fail "apt knows no package postgresql: is this Debian, and has it its package lists?"
        printf '%s\n' "postgresql-$major" "postgresql-$major-postgis-3" "postgresql-$major-postgis-3-scripts" \
            "postgresql-$major-pgrouting" "postgresql-$major-ogr-fdw"
        optional_packages "$major"
    elif [ ${#as_root[@]} = 0 ]; then
        complete_postgres | while read -r major; do optional_packages "$major"; done
    fi
    [ -x /usr/bin/redis-server ] || echo redis-server
    [ -x $python ] && $python -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    [ -x /usr/bin/openssl ] || echo openssl
    command -v cc >/dev/null || printf '%s\n' gcc libc6-dev
    [ -n "${FLOWKIT_NO_NOTEBOOKS:-}" ] || missing_page_packages
    [ -z "$for_tests" ] || missing_test_packages
}

# What WeasyPrint draws pages with, by the names that it loads, a font that has most alphabets, and what `flowkit verify` reads a report with.
missing_page_packages() {
    local library package
    while read -r library package; do
        [ -n "$(find /usr/lib -name "$library" -print -quit)" ] || echo "$package"
    done <<-END
	libpango-1.0.so.0 libpango-1.0-0
	libpangoft2-1.0.so.0 libpangoft2-1.0-0
	libharfbuzz-subset.so.0 libharfbuzz-subset0
	END
    [ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ] || echo fonts-dejavu-core
    command -v pdftotext >/dev/null || echo poppler-utils
}

missing_test_packages() {
    command -v mmdebstrap >/dev/null || echo mmdebstrap
    [ -x /usr/sbin/dockerd ] || [ -x /usr/bin/dockerd ] || echo docker.io
    command -v ip >/dev/null || echo iproute2
    command -v skopeo >/dev/null || echo skopeo
    command -v umoci >/dev/null || echo umoci
    [ -n "$(find /usr/lib -name libnss_wrapper.so -print -quit)" ] || echo libnss-wrapper
    command -v zstd >/dev/null || echo zstd
    command -v jq >/dev/null || echo jq
    command -v pebble >/dev/null || echo pebble
    [ -z "${FLOWKIT_NO_BROWSER:-}" ] || return 0
    [ -x /usr/bin/chromium ] || printf '%s\n' chromium fonts-dejavu-core
    command -v chromedriver >/dev/null || echo chromium-driver
    command -v npm >/dev/null || echo npm
}

# Units that start at boot, one link a line.
enabled_units() { find /etc/systemd/system -path '*.wants/*' \( -name '*.service' -o -name '*.socket' \) -type l 2>/dev/null | sort; }

# Installs packages with nothing started, no cluster made and nothing new enabled at boot:
# - postgresql-common makes no cluster for the new server (a drop-in file of its own, gone afterwards);
# - services are not started (policy-rc.d, gone afterwards; an administrator's own is left in charge);
# - what starts at boot that did not before is disabled. That is by unit: one that was enabled before stays so.
install_packages() {
    local policy=/usr/sbin/policy-rc.d cluster=/etc/postgresql-common/createcluster.d/flowkit-setup.conf before unit
    made=()   # not local: a failure ends the function before the trap runs
    undo() { [ ${#made[@]} = 0 ] || "${as_root[@]}" rm -f "${made[@]}"; }
    trap undo EXIT
    if [ ! -e $policy ]; then
        made+=($policy)
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
        "${as_root[@]}" chmod 755 $policy
    fi
    made+=($cluster)
    "${as_root[@]}" mkdir -p "${cluster%/*}"
    echo 'create_main_cluster = false' | "${as_root[@]}" tee $cluster >/dev/null

    before=$(enabled_units)
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@" >&2
    comm -13 <(echo "$before") <(enabled_units) | sed -nE 's|.*/||; /^(postgresql|redis|docker|containerd)/p' | sort -u | while read -r unit; do
        say "not starting $unit at boot: FlowKit runs its own"
        "${as_root[@]}" systemctl disable --quiet "$unit" 2>/dev/null ||
            "${as_root[@]}" update-rc.d "${unit%.service}" disable
    done
    undo
    trap - EXIT
}

packages() {
    local missing
    # shellcheck disable=SC2119
    if postgres_is_complete && [ -z "$(missing_packages)" ]; then return; fi
    command -v apt-get >/dev/null || fail "apt-get is missing: this script knows Debian only. Install PostgreSQL with PostGIS," \
        "pgRouting and ogr_fdw, redis and Python's venv with your own package manager."
    if [ ${#as_root[@]} != 0 ] && ! command -v sudo >/dev/null; then
        fail "packages are missing and there is no sudo. As root: make setup"
    fi
    say "refreshing apt's package lists"
    "${as_root[@]}" apt-get update --quiet >&2
    mapfile -t missing < <(missing_packages)
    say "installing from Debian: ${missing[*]}"
    install_packages "${missing[@]}"
    postgres_is_complete && [ -z "$(missing_packages)" ] || fail "still missing after the installation: $(missing_packages | xargs)"
}

# --- 2. The Python environment --------------------------------------------------------------------------------------

# Two packages of FlowMachine's are published as source: they are built after, and with, the locked setuptools and wheel.
source_only='^(finist|python-louvain)=='

# The requirements of a lock whose first line matches (or, with "!", does not match) a pattern.
locked() { awk -v no="$2" -v pattern="$3" '/^[a-zA-Z]/ { take = ($0 ~ pattern) != (no == "!") } take' "$1"; }

# Makes the environment $1 of the lock $2, under a name that tells its contents, puts our packages $3... in it, and then turns the link $1 to it,
# so that a half-made one is never used and a running server keeps the one it started with.
environment() {
    local home=$prefix/lib/flowkit name=$1 lock=$2 package key target old
    shift 2
    key=$(cat "$lock" <($python -c 'import sys; print(sys.version)') | sha256sum | cut -c1-12)
    target=$home/$name-$key
    if [ ! -e "$target/complete" ]; then
        say "making the Python environment $target ($(grep -c '^[a-zA-Z]' "$lock") locked packages)"
        mkdir -p "$home"
        rm -rf "$target"
        (
            umask 022
            # -I: nothing of the caller's PYTHON* variables or home gets in.
            $python -I -m venv "$target"
            install=("$target/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input
                     --no-deps --require-hashes --no-build-isolation)
            "${install[@]}" --only-binary :all: --requirement <(locked "$lock" ! "$source_only")
            if grep -qE "$source_only" "$lock"; then
                "${install[@]}" --use-pep517 --requirement <(locked "$lock" "" "$source_only")
            fi
            touch "$target/complete"
        )
    fi
    for package; do ours "$target" "$package"; done
    if [ "$(readlink "$home/$name" || true)" != "$name-$key" ]; then
        old=$(readlink "$home/$name" || true)
        ln -sfn "$name-$key" "$home/$name.new"
        mv -T "$home/$name.new" "$home/$name"
        # The one before is kept for servers that still run from it; older ones go.
        find "$home" -maxdepth 1 -name "$name-*" ! -name "$name-$key" ! -name "${old:-$name-}" -exec rm -rf {} +
    fi
}

# Copies our package $2 into the environment $1, and what tells of it where it has entry points: each file whole, only what changed.
ours() {
    local site from to file name
    site=$("$1/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    for from in "python/$2" "python/$2.dist-info"; do
        [ -d "$from" ] || continue
        to=$site/$2
        [ "$from" = "python/$2" ] || to=$site/$2-1.dist-info
        mkdir -p -m 755 "$to"
        for file in "$from"/*; do
            [ -f "$file" ] || continue
            name=${file##*/}
            cmp -s "$file" "$to/$name" && continue
            install -m 644 "$file" "$to/.$name.new"
            mv "$to/.$name.new" "$to/$name"
        done
        for file in "$to"/*; do
            [ ! -f "$file" ] || [ -e "$from/${file##*/}" ] || rm -f "$file"
        done
    done
}

# For the tests: upstream's client and its maker of tokens, Schemathesis, and readers of our types of file, in an environment
# of their own. They would not go with FlowMachine's pandas. The one before goes when this one is there.
client_environment() {
    local home=$prefix/lib/flowkit key
    key=$(cat python/client.txt <($python -c 'import sys; print(sys.version)') | sha256sum | cut -c1-12)
    if [ ! -e "$home/client-$key/complete" ]; then
        say "making the tests' Python environment $home/client-$key"
        mkdir -p "$home"
        rm -rf "$home/client-$key"
        (
            umask 022
            $python -I -m venv "$home/client-$key"
            "$home/client-$key/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
                --require-hashes --only-binary :all: --requirement python/client.txt
            touch "$home/client-$key/complete"
        )
    fi
    ln -sfn "client-$key" "$home/client"
    find "$home" -maxdepth 1 -name 'client-*' ! -name "client-$key" -exec rm -rf {} +
}

# For the browser tests: axe, one file, under a name that tells its lock.
axe() {
    local home=$prefix/lib/flowkit lock=crates/flowauth/tests/axe key work
    key=$(sha256sum <$lock/package-lock.json | cut -c1-12)
    if [ ! -e "$home/axe-$key/axe.min.js" ]; then
        say "bringing axe, the accessibility checker"
        work=$(mktemp -d)
        cp $lock/package*.json "$work"
        npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --silent >&2
        rm -rf "$home"/axe-*
        mkdir -p -m 755 "$home/axe-$key"
        install -m 644 "$work/node_modules/axe-core/axe.min.js" "$home/axe-$key/.new"
        mv "$home/axe-$key/.new" "$home/axe-$key/axe.min.js"
        rm -rf "$work"
    fi
    ln -sfn "axe-$key" "$home/axe"
}

# All of them at once: each is pip's one thread and waits for the network. One that fails is waited for, too, and said.
environments() {
    local making=() one failed=
    environment python python/requirements.txt flowkit_flowmachine & making+=($!)
    [ -n "${FLOWKIT_NO_ETL:-}" ] || { environment etl python/flowetl.txt flowkit_flowetl flowkit_flowetl/dags & making+=($!); }
    [ -n "${FLOWKIT_NO_NOTEBOOKS:-}" ] || { environment notebooks python/notebooks.txt flowkit_notebooks scrapbook & making+=($!); }
    [ -z "$for_tests" ] || { client_environment & making+=($!); }
    [ -z "$for_tests" ] || [ -n "${FLOWKIT_NO_BROWSER:-}" ] || { axe & making+=($!); }
    for one in "${making[@]}"; do wait "$one" || failed=1; done
    [ -z "$failed" ] || fail "not all is there: what failed is said above. Run it again, and it goes on where it stopped"
}

rust
packages
environments
say "ready: $prefix/lib/flowkit/python"
