# Debian with systemd and a kernel for virtual machines, as a read-only file system: `debian.img` (its label is "debian"),
# `vmlinuz`, `initrd`, the EFI stub for them, and its tables of accounts.
#
# Impure: installing Debian takes root and the mirror, which a builder has not. scripts/nix.sh does it (base.sh), and leaves
# them below the hash of what they were made by.
{ pkgs }:
let
  recipe = map builtins.readFile [
    ./base.sh
    ./initramfs/hook
    ./initramfs/layers
  ];
  made = "/var/cache/flowkit/debian/${builtins.hashString "sha256" (pkgs.lib.concatStrings recipe)}";
in
pkgs.runCommand "debian-base" { } ''
  [ -d ${made} ] || { echo "there is no ${made}: scripts/nix.sh makes it" >&2; exit 1; }
  cp -r ${made} $out
''
