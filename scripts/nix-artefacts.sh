#!/bin/bash
# Builds outputs of the flake with tests/debian in the place of nixpkgs, and links each at target/nix/NAME, where the
# tests of images, stack and VM find them.
#
#   scripts/nix-artefacts.sh [NAME…]    by default every role's image, the portable flowkit, the VM and its disk
set -euo pipefail
cd "$(dirname "$0")/.."

# The roles that have images, as the flake sees them.
roles() { grep -lx 'built = true' src/roles/*.toml | sed 's|.*/||; s|\.toml$||'; }

names=("$@")
[ ${#names[@]} != 0 ] || mapfile -t names < <(roles | sed 's/$/-image/'; printf '%s\n' flowkit-portable appliance-vm appliance-disk)

mkdir -p target/nix
# Debian drops what is superseded: then go on with what there is, and say what moved.
tests/debian/relock.sh --if-gone
# One call of pip's for all files of Python packages, instead of one for each (tests/debian/packages/fetch.sh).
python3 - python/*-wheels.json >"$(scripts/nix.sh --root)/var/cache/flowkit/wheels.wanted" <<'PYTHON'
import base64, json, sys

for path in sys.argv[1:]:
    for package in json.load(open(path))["packages"]:
        wheels = package.get("wheel", {})
        file = package.get("sdist") or wheels.get("any") or wheels["x86_64-linux"]
        print(base64.b64decode(file["hash"].removeprefix("sha256-")).hex(), package["name"], package["version"])
PYTHON
flake=$(scripts/nix.sh --flake)
printf 'nix: building %s\n' "${names[*]}" >&2
mapfile -t paths < <(scripts/nix.sh build --no-link --print-out-paths --print-build-logs --no-write-lock-file \
    --override-input nixpkgs "path:$PWD/tests/debian" "${names[@]/#/$flake#}")
[ ${#paths[@]} = ${#names[@]} ] || { echo "nix: ${#names[@]} outputs were asked for and ${#paths[@]} built" >&2; exit 1; }
for i in "${!names[@]}"; do
    ln -sfn "$(scripts/nix.sh --host "${paths[$i]}")" "target/nix/${names[$i]}"
    printf 'nix: target/nix/%s\n' "${names[$i]}" >&2
done
