# What `nix flake check` checks, found by reading folders:
#
#   tests/packages.nix    formatting, lints, unit tests; each image builds, and is the same bytes when built again
#   tests/modules/*.nix   the NixOS modules with good and bad options; a file is `{ pkgs, packages }: derivation`
#   tests/nixos/*.nix     machines that boot; a file is a test as `runNixOSTest` takes it
#
# The names are known without the package set.
{
  pkgs,
  packages,
  roles,
  ...
}@outputs:
let
  files =
    dir:
    builtins.filter (file: builtins.match ".*\\.nix" file != null && file != "default.nix") (
      if builtins.pathExists dir then builtins.attrNames (builtins.readDir dir) else [ ]
    );
  found =
    prefix: dir: check:
    builtins.listToAttrs (
      map (file: {
        name = prefix + builtins.substring 0 (builtins.stringLength file - 4) file;
        value = check (dir + "/${file}");
      }) (files dir)
    );
in
import ./packages.nix outputs
// found "modules-" ./modules (file: import file { inherit pkgs packages; })
// found "machine-" ./nixos (
  file:
  pkgs.testers.runNixOSTest {
    imports = [ file ];
    defaults.imports = [ ../modules ];
  }
)
